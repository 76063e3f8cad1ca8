"""What every value's entry in the config has."""

from typing import Any, Literal

from pydantic import Field

from polyalign.models import sources
from polyalign.settings import Strict


class ValueSpec(Strict):
    """One value and its name in figures; each kind adds the settings of its reward."""

    kind: str = Field(description="Kind of reward: a module of polyalign.rewards.")
    label: str = Field(default="", description="Name on axes and in tables (default: the key).")
    unit: str = Field(default="", description="Unit on axes, such as `logit` or `nats/token`.")

    def reads_prompt(self) -> bool:
        """The value's scope: whether it scores prompt and response, or the response alone."""
        return True

    def is_log_probability(self) -> bool:
        """Whether the rewards are logs of probabilities."""
        return False

    def identity(self) -> dict[str, Any]:
        """What the scores depend on, JSON-ready: tables whose identities differ do not compare."""
        return self.model_dump(exclude={"label", "unit"})


class ModelSpec(ValueSpec):
    """A value that a model scores."""

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

    def placed(self) -> dict[str, Any]:
        """How the loaders of `polyalign.models.load` shall load the model."""
        return self.model_dump(include={"dtype", "device", "device_map", "revision"})

    def identity(self) -> dict[str, Any]:
        """As for any value, without what only says how fast, and with the content of the model.

        Raises:
            InputError: if there is no such model.
        """
        settings = self.model_dump(exclude={"label", "unit", "device", "device_map", "batch_size"})
        return {**settings, "content": sources.content(self.model, self.revision)}
