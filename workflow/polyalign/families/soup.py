"""`soup`: weighted averages of the parameters of trained models."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.settings import Name, Strict, Weights


class Settings(Strict):
    """Average the parameters of models that other families train, for comparison.

    Reference: Ramé, Couairon, Shukor, Dancette, Gaya, Soulier and Cord: Rewarded soups.
    arXiv 2306.04488, 2023.
    """

    models: dict[Name, Weights] = Field(
        min_length=1,
        description="Soups by name; each gives weights to trained policies (`family/variant`).",
    )


def policies(settings: Settings) -> list[Policy]:
    """One policy per soup, with the soup's name."""
    return [
        Policy("soup", name, {"weights": weights}, parts=tuple(sorted(weights)))
        for name, weights in settings.models.items()
    ]


FAMILY = Family("train", "polyalign.train.soup:train", Settings, policies, colour=3)
