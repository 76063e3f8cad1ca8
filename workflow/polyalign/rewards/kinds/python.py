"""A reward in a few lines of the user's own Python."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from polyalign.errors import InputError
from polyalign.rewards import Score
from polyalign.rewards.spec import ValueSpec
from polyalign.runtime.code import imported


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
    """A function of yours, from lists of prompts and responses to one number per response.

    Its module is a file below the folder that Snakemake is called in. If you edit what it computes,
    or a module there that it imports (a file, or a package with an `__init__.py`), the value is
    scored again.
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
        return Path(*self.function.partition(":")[0].split(".")).with_suffix(".py")

    def user_code(self) -> str:
        """`file=hash` of the function's module and of all modules here that it imports.

        Raises:
            InputError: if there is no such module.
        """
        file = self.file()
        if not file.is_file():
            raise InputError(
                f"{self.function}: there is no {file} in {Path.cwd()}; expected the module there; "
                "correct the name, or call from the folder that the module is in"
            )
        try:
            return imported(Path.cwd(), file.resolve())
        except SyntaxError as fault:
            raise InputError(
                f"{file}:{fault.lineno}: {fault.msg}; expected Python; fix the module"
            ) from fault

    def identity(self) -> dict[str, Any]:
        """As for any value, with hashes of the function's modules.

        Raises:
            InputError: if there is no such module.
        """
        return {**super().identity(), "content": self.user_code()}

    def reads_prompt(self) -> bool:
        """As the config says."""
        return self.scope == "prompt and response"


class Scorer(Score):
    """Loads the function of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if there is no such module or function.
    """

    def __init__(self, spec: Spec) -> None:
        import sys
        from importlib.util import module_from_spec, spec_from_file_location

        self.spec = spec
        spec.user_code()
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
            InputError: if the function does not return one number per response.
        """
        returned = self.function(prompts, responses)  # type: ignore[misc]
        try:
            rewards = np.asarray(returned, dtype=np.float64)
        except (TypeError, ValueError) as fault:
            raise InputError(
                f"{self.spec.function} returned no numbers ({fault}); expected one per response; "
                "fix the function"
            ) from fault
        if rewards.shape != (len(responses),):
            raise InputError(
                f"{self.spec.function} returned shape {rewards.shape} for {len(responses)} "
                "responses; expected one number per response; fix the function"
            )
        return rewards
