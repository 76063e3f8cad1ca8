"""A reward in a few lines of the user's own Python."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from polyalign.rewards.spec import ValueSpec


def _function(name: str) -> str:
    module, colon, function = name.partition(":")
    if not colon or not function.isidentifier() or not all(
        part.isidentifier() for part in module.split(".")
    ):  # fmt: skip
        raise ValueError(
            f"{name!r} names no function; expected `module:function`, such as `rewards.mine:score` "
            "for `score` in rewards/mine.py; write it so"
        )
    return name


class Spec(ValueSpec):
    """A function of your own, from lists of prompts and responses to one number per response.

    The module is searched in the folder that Snakemake is called in. Editing it, or a module that
    it imports from there (a file, or a package with an `__init__.py`), scores the value again.
    """

    kind: Literal["python"] = "python"
    function: Annotated[str, AfterValidator(_function)] = Field(
        description="`module:function`; `rewards.mine:score` is `score` in rewards/mine.py."
    )
    scope: Literal["response", "prompt and response"] = Field(
        default="prompt and response",
        description="What the number depends on; with `response`, equal responses are scored once, "
        "whatever their prompts.",
    )

    def file(self) -> Path:
        """The module's file, from the working folder."""
        return module_file(self.function)

    def identity(self) -> dict[str, Any]:
        """As for any value, with the content of the function's modules.

        Raises:
            InputError: if there is no such module.
        """
        return {**super().identity(), "content": local_code(self.function)}

    def reads_prompt(self) -> bool:
        """As the config says."""
        return self.scope == "prompt and response"


def module_file(function: str) -> Path:
    """The file of the module in `module:function`, from the working folder."""
    return Path(*function.partition(":")[0].split(".")).with_suffix(".py")


def local_code(function: str) -> str:
    """`file=hash` of the function's module and of all modules here that it imports.

    Raises:
        InputError: if there is no such module.
    """
    from polyalign.errors import InputError
    from polyalign.runtime.code import imported

    file = module_file(function)
    if not file.is_file():
        raise InputError(
            f"{function}: there is no {file} in {Path.cwd()}; expected the module there; correct "
            "the name, or call from the folder that it lies in"
        )
    try:
        return imported(Path.cwd(), file.resolve())
    except SyntaxError as fault:
        raise InputError(f"{file}:{fault.lineno}: {fault.msg}; mend the module") from fault


class Scorer:
    """Loads the function of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if module or function is not there.
    """

    def __init__(self, spec: Spec) -> None:
        import sys
        from importlib.util import module_from_spec, spec_from_file_location

        from polyalign.errors import InputError

        self.spec = spec
        local_code(spec.function)
        sys.path.insert(0, str(Path.cwd()))
        found = spec_from_file_location("polyalign_user_reward", spec.file())
        assert found is not None
        assert found.loader is not None
        module = module_from_spec(found)
        found.loader.exec_module(module)
        self.function = getattr(module, spec.function.partition(":")[2], None)
        if not callable(self.function):
            raise InputError(
                f"{spec.function}: {spec.file()} has no such function; expected one that takes a "
                "list of prompts and a list of responses; correct the name"
            )

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Rewards (n,) of n responses to their prompts.

        Raises:
            InputError: if the function does not return one number a response.
        """
        from polyalign.errors import InputError

        returned = self.function(prompts, responses)  # type: ignore[misc]
        try:
            rewards = np.asarray(returned, dtype=np.float64)
        except (TypeError, ValueError) as fault:
            raise InputError(
                f"{self.spec.function} returned no numbers ({fault}); expected one a response"
            ) from fault
        if rewards.shape != (len(responses),):
            raise InputError(
                f"{self.spec.function} returned shape {rewards.shape} for {len(responses)} "
                "responses; expected one number a response; mend the function"
            )
        return rewards
