"""What the config holds about every value."""

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from polyalign.models import sources
from polyalign.settings import Shown, Strict

Text = Annotated[
    Literal["response", "whole"],
    Field(
        description="What is scored: the response, or prompt and response as one text, as in the "
        "tables of the MAP paper."
    ),
]


def scored_text(text: str, prompt: str, response: str) -> str:
    """The text that is scored: the response, or `whole`: prompt and response, a space between."""
    if text == "response":
        return response
    joined = prompt[-1:].isspace() or response[:1].isspace() or not (prompt and response)
    return prompt + response if joined else f"{prompt} {response}"


class ValueSpec(Strict):
    """One value and its name in figures; each kind adds the settings of its reward."""

    AT_ONCE: ClassVar[int] = 8192
    """Texts that are scored in one call of the reward function, and then kept."""

    SPEED: ClassVar[tuple[str, ...]] = ()
    """Settings that change how the scores are computed, and at most their rounding."""

    kind: str = Field(description="Kind of reward: a module of polyalign.rewards.kinds.")
    label: Shown = Field(default="", description="Name on axes and in tables (default: the key).")
    unit: Shown = Field(default="", description="Unit on axes, such as `logit` or `nats/token`.")
    sign: Literal[1, -1] = Field(
        default=1,
        description="-1 negates the score, for a reward that measures the opposite of the value.",
    )
    above: float | None = Field(
        default=None,
        description="The value is 1 where the score (after `sign`) is above this number and 0 "
        "elsewhere, so that its level is a share of responses (default: the score itself).",
    )

    def reads_prompt(self) -> bool:
        """The value's scope: whether it scores prompt and response, or the response alone."""
        return True

    def user_code(self) -> str:
        """The user's own code that the reward runs, as `file=hash`; empty for most kinds.

        Raises:
            InputError: if there is no such code.
        """
        return ""

    def of_scores(self, scores: Any) -> np.ndarray:
        """The value (n,) of scores (n,): with its sign, and 1 or 0 where it is a share."""
        signed = self.sign * np.asarray(scores, dtype=np.float64)
        return signed if self.above is None else (signed > self.above).astype(np.float64)

    def identity(self) -> dict[str, Any]:
        """What the scores depend on, JSON-ready; scores compare only if their identities do."""
        return self.model_dump(exclude={"label", "unit", *self.SPEED})

    def at_default_speed(self) -> Self:
        """The same value, with defaults for the settings that change no score."""
        fields = type(self).model_fields
        return self.model_copy(update={key: fields[key].default for key in self.SPEED})


class ModelSpec(ValueSpec):
    """A value that a model scores."""

    SPEED: ClassVar = ("device", "device_map", "batch_size")

    model: str = Field(
        description="Hub id, folder, `package:NAME/FOLDER` of an installed package, or a folder "
        "below results/<study>/models/ that the workflow makes."
    )
    revision: str | None = Field(default=None, description="Commit or tag of a hub model.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Number format that the model computes in."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the model runs; auto takes CUDA where there is one."
    )
    device_map: Literal["auto", "balanced", "sequential"] | None = Field(
        default=None,
        description="Spread the model over several GPUs, as accelerate's device map of that name.",
    )
    batch_size: int = Field(default=64, ge=1, description="Texts scored at once.")
    max_length: int = Field(
        default=512, ge=1, description="Longer texts are cut to this many tokens."
    )

    def check_labels(self, names: list[str]) -> None:
        """Raise InputError if the entry does not say which of a model's labels it scores.

        Most kinds read no labels.
        """

    def placed(self) -> dict[str, Any]:
        """The options of the loaders in `polyalign.models.load`."""
        return self.model_dump(include={"dtype", "device", "device_map", "revision"})

    def identity(self) -> dict[str, Any]:
        """As for any value, with the fingerprint of the model, without what changes speed alone.

        Raises:
            InputError: if there is no such model.
        """
        return {**super().identity(), "content": sources.fingerprint(self.model, self.revision)}
