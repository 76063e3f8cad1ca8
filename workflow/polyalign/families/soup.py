"""`soup`: weighted averages of the parameters of trained models."""

from pathlib import Path
from typing import Any

from pydantic import Field

from polyalign.families import Ingredients, Variant
from polyalign.settings import Name, Strict, Weights


class Settings(Strict):
    """Average the parameters of models that other families train."""

    models: dict[Name, Weights] = Field(
        min_length=1,
        description="Soups by name; each gives trained policies (`family/variant`) their weights.",
    )


def variants(settings: Settings) -> dict[str, Variant]:
    """One policy a soup, of the soup's name."""
    return {
        name: Variant(settings={"weights": weights}, policies=tuple(sorted(weights)))
        for name, weights in settings.models.items()
    }


def train(made_from: Ingredients, output: Path) -> dict[str, Any]:
    """Write the soup into `output`; returns what the record shall say."""
    from polyalign.train.soup import make_soup

    weights = made_from.settings["weights"]
    return make_soup(
        [(made_from.policies[name], weight) for name, weight in weights.items()], output
    )
