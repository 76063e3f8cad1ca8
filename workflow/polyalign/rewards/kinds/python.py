"""A reward in a few lines of the user's own Python."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from polyalign.data.chats import dialogue
from polyalign.errors import InputError
from polyalign.rewards import Score
from polyalign.rewards.spec import ValueSpec
from polyalign.runtime.function_code import function_code


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

    Its module is a file below the folder that Snakemake is called in. If you edit what the function
    computes, in its module or in others there that it imports from, the value is scored again.
    Comments, docstrings and functions that it does not use do not count.
    """

    AT_ONCE: ClassVar[int] = 32
    """Few, since a call that fails, such as one of a judge that is paid, loses all its scores."""

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
        """`file=hash` of what the function uses of its module, and of each module here.

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
            return function_code(Path.cwd(), Path.cwd() / file, self.function.partition(":")[2])
        except SyntaxError as fault:
            raise InputError(
                f"{file}:{fault.lineno}: {fault.msg}; expected Python; fix the module"
            ) from fault

    def identity(self) -> dict[str, Any]:
        """As for any value, with hashes of what the function uses of its modules.

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
        self.spec = spec
        spec.user_code()
        name, _, function = spec.function.partition(":")
        self.function = getattr(_module(name, spec.file()), function, None)
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
        returned = self.function(list(map(dialogue, prompts)), responses)  # type: ignore[misc]
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


def _module(name: str, file: Path) -> ModuleType:
    """The user's module, imported as Python does, so that dataclasses, other processes and relative
    imports find it by its name.

    Raises:
        InputError: if another module has its name.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = import_module(name)
    if module.__file__ is None or not file.samefile(module.__file__):
        raise InputError(
            f"{file}: another module is called {name} too ({module.__file__}); expected a name "
            "that nobody else has; rename the file or its folder"
        )
    return module
