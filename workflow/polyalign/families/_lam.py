"""What the families share that take λ as it is: a palette's, or one that the user writes down."""

from typing import Any, Self

from pydantic import Field, model_validator

from polyalign.families import Variant
from polyalign.settings import Lam, Name, Names, Strict


class LamOptions(Strict):
    """Whose λ is taken."""

    palettes: Names | None = Field(
        default=None, description="Palettes whose λ is taken; each becomes a policy of its name."
    )
    lam: dict[Name, Lam] = Field(
        default={},
        description="λ of your own by name, a number ≥ 0 a value in 1 / the rewards' units; each "
        "becomes a policy of its name. Without a palette there is no target and no verdict.",
    )

    @model_validator(mode="after")
    def _each_policy_once(self) -> Self:
        if not self.palettes and not self.lam:
            raise ValueError(
                "has neither `palettes` nor `lam`; expected one of them, or both; add one"
            )
        if twice := sorted(set(self.palettes or ()) & set(self.lam)):
            raise ValueError(
                f"{twice[0]!r} names a palette and a λ of your own; expected one policy a name; "
                "rename it in `lam`"
            )
        return self


def variants(settings: LamOptions) -> dict[str, Variant]:
    """One policy a palette, and one a λ of the user's own, of their names."""
    options = settings.model_dump(exclude={"palettes", "lam"})
    return {name: Variant(settings=options, palette=name) for name in settings.palettes or ()} | {
        name: Variant(settings={**options, "lam": lam}, values=tuple(lam))
        for name, lam in settings.lam.items()
    }


def lam_of(palette: dict[str, Any], key: str) -> dict[str, float]:
    """Value → λ of a solved palette; `key` is `lam` or `lam_train`."""
    return dict(zip(palette["values"], palette[key], strict=True))
