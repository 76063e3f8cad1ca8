"""`dpo`: direct preference optimisation on mixtures of the preference data sets."""

from pathlib import Path
from typing import Any

from pydantic import Field

from polyalign.families import Ingredients, Variant
from polyalign.settings import Count, Name, Numbers, Positive, Strict, Weights


class Settings(Strict):
    """Train a model on preference pairs, for every β and every mixture of the data sets."""

    beta: Numbers = Field(
        default=[0.1], description="Strengths of the pull towards the base model."
    )
    mixtures: dict[Name, Weights] = Field(
        min_length=1,
        description="Mixtures by name; each gives preference data sets their shares of the pairs.",
    )
    pairs: Count = Field(
        default=10000, description="Preference pairs that one model is trained on."
    )
    epochs: Count = Field(default=1, description="Passes over the pairs.")
    learning_rate: Positive = Field(default=1.0e-6, description="Peak step size of the optimiser.")
    batch_size: Count = Field(default=32, description="Pairs in one step.")


def variants(settings: Settings) -> dict[str, Variant]:
    """One policy for every β and mixture: `beta-0.1_harmless-0.3`."""
    common = settings.model_dump(include={"pairs", "epochs", "learning_rate", "batch_size"})
    return {
        f"beta-{beta:g}_{name}": Variant(
            settings={"beta": beta, "mixture": shares, **common},
            preferences=tuple(sorted(data for data, share in shares.items() if share > 0)),
        )
        for beta in settings.beta
        for name, shares in settings.mixtures.items()
    }


def train(made_from: Ingredients, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns what the record shall say."""
    from polyalign.preferences import mixture, read_pairs
    from polyalign.train.common import Training
    from polyalign.train.dpo import train_dpo

    settings = made_from.settings
    read = {name: read_pairs(path) for name, path in made_from.preferences.items()}
    shares = {name: share for name, share in settings["mixture"].items() if share > 0}
    pairs = mixture(
        {name: data.frame for name, data in read.items()}, shares, settings["pairs"], made_from.seed
    )
    record = train_dpo(
        made_from.model["source"],
        pairs,
        output,
        work=made_from.work,
        template=made_from.template,
        beta=settings["beta"],
        training=Training(
            learning_rate=settings["learning_rate"],
            batch_size=settings["batch_size"],
            seed=made_from.seed,
            dtype=made_from.model["dtype"],
        ),
        epochs=settings["epochs"],
        max_new_tokens=made_from.sampling["max_new_tokens"],
    )
    return {**record, "read": {name: data.counts for name, data in read.items()}}
