"""`soup`: weighted averages of the parameters of trained models."""

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.settings import Name, Strict, Weights


class Settings(Strict):
    """Average the parameters of models that other families train."""

    models: dict[Name, Weights] = Field(
        min_length=1,
        description="Soups by name; each gives trained policies (`family/variant`) their weights.",
    )


def policies(settings: Settings) -> list[Policy]:
    """One policy per soup, with the soup's name."""
    return [
        Policy("soup", name, {"weights": weights}, parts=tuple(sorted(weights)))
        for name, weights in settings.models.items()
    ]


FAMILY = Family("train", "polyalign.train.soup:train", Settings, policies)
