"""`dpo`: direct preference optimisation, on mixtures of the preference data sets or for palettes.

For a palette the pairs are candidates of the base model, labelled by λ·r: the aim is then the same
p0 exp(λ·r) as that of decoding and reinforcement learning.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from polyalign.families import Ingredients, Variant
from polyalign.families._palettes import PaletteOptions
from polyalign.families._palettes import variants as for_palettes
from polyalign.settings import Count, Name, Numbers, Weights
from polyalign.train.options import Options, training


class Labelled(PaletteOptions):
    """Pairs of the base model's candidates, labelled by a palette's λ·r; β is 1."""

    pairs: Count = Field(
        default=10000, description="Pairs that one model is trained on, or all there are if fewer."
    )
    epochs: Count = Field(default=1, description="Passes over the pairs.")
    batch_size: Count = Field(default=32, description="Pairs in one step.")


class Settings(Options):
    """Train a model on preference pairs, for every β and every mixture of the data sets."""

    beta: Numbers = Field(
        default=[0.1], description="Strengths of the pull towards the base model."
    )
    mixtures: dict[Name, Weights] = Field(
        default={},
        description="Mixtures by name; each gives preference data sets their shares of the pairs.",
    )
    pairs: Count = Field(
        default=10000, description="Preference pairs that one model is trained on."
    )
    test_pairs: int = Field(
        default=500,
        ge=0,
        description="Test pairs, in the same mixture, that a model's preferences are judged on at "
        "most.",
    )
    epochs: Count = Field(default=1, description="Passes over the pairs.")
    batch_size: Count = Field(default=32, description="Pairs in one step.")
    labelled: Labelled | None = Field(
        default=None,
        description="Models for palettes as well, on candidates of the base model labelled by λ·r.",
    )

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if not self.mixtures and not self.labelled:
            raise ValueError(
                "has neither `mixtures` nor `labelled`; expected one of them, or both; add one"
            )
        return self


def variants(settings: Settings) -> dict[str, Variant]:
    """`beta-0.1_harmless-0.3` for every β and mixture; a palette's name for every palette."""
    common = settings.model_dump(exclude={"beta", "mixtures", "labelled"})
    mixed = {
        f"beta-{beta:g}_{name}": Variant(
            settings={"beta": beta, "mixture": shares, **common},
            preferences=tuple(sorted(data for data, share in shares.items() if share > 0)),
        )
        for beta in settings.beta
        for name, shares in settings.mixtures.items()
    }
    labelled = for_palettes(settings.labelled) if settings.labelled else {}
    return {**mixed, **{name: replace(made, candidates=True) for name, made in labelled.items()}}


def train(made_from: Ingredients, output: Path) -> dict[str, Any]:
    """Train the policy's model into `output`; returns what the record shall say."""
    from polyalign.train.dpo import train_dpo

    settings, model = made_from.settings, made_from.model
    test = None
    if made_from.preferences:
        pairs, facts = mixed_pairs(made_from)
        if settings["test_pairs"]:
            test, facts["read_test"] = held_out_pairs(made_from)
    else:
        pairs, facts = labelled_pairs(made_from)
    record = train_dpo(
        model["source"],
        pairs,
        output,
        work=made_from.work,
        template=made_from.template,
        beta=settings.get("beta", 1.0),
        training=training(
            settings, made_from.seed, model["dtype"], model["device"], parts=made_from.parts
        ),
        epochs=settings["epochs"],
        max_new_tokens=made_from.sampling["max_new_tokens"],
        revision=model["revision"],
        pairs_test=test,
    )
    return {**record, **facts}


def mixed_pairs(made_from: Ingredients) -> tuple[Any, dict[str, Any]]:
    """Pairs of the data sets in their shares, and what became of the rows they were read from."""
    from polyalign.preferences import mixture

    frames, counts = _read(made_from.preferences)
    shares, size = _shares(made_from), made_from.settings["pairs"]
    return mixture(frames, shares, size, made_from.seed), {"read": counts}


def held_out_pairs(made_from: Ingredients) -> tuple[Any, dict[str, Any]]:
    """Test pairs in the same shares, fewer than `test_pairs` where the data sets have no more."""
    from polyalign.preferences import mixture

    frames, counts = _read(made_from.held_out)
    shares = _shares(made_from)
    there = min(int(len(frames[name]) / share) for name, share in shares.items())
    size = min(made_from.settings["test_pairs"], there)
    return mixture(frames, shares, size, made_from.seed), counts


def _shares(made_from: Ingredients) -> dict[str, float]:
    return {name: share for name, share in made_from.settings["mixture"].items() if share > 0}


def _read(sources: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pairs of each data set, and what became of its rows."""
    from polyalign.preferences import read_pairs

    read = {name: read_pairs(**source) for name, source in sources.items()}
    frames = {name: data.frame for name, data in read.items()}
    return frames, {name: data.counts for name, data in read.items()}


def labelled_pairs(made_from: Ingredients) -> tuple[Any, dict[str, Any]]:
    """Pairs of candidates, labelled by the palette's λ·r, and whether they lead to p_λ itself."""
    import numpy as np

    from polyalign.train.dpo import is_exact, lambda_pairs

    palette, pool = made_from.palette, made_from.candidates
    if pool is None:
        raise TypeError("a palette's pairs are drawn from candidates")
    pairs = lambda_pairs(
        pool,
        pool[palette["values"]].to_numpy(np.float64),
        np.array(palette["lam_train"]),
        made_from.seed,
        made_from.settings["pairs"],
    )
    return pairs, {"exact_target": is_exact(**made_from.sampling)}
