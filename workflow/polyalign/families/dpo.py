"""`dpo`: direct preference optimisation, on mixtures of the preference data sets or for palettes.

For a palette it learns from candidates of the base model, labelled by λ·r: all of a prompt at once,
or pairs of them. The aim is then p0 exp(λ·r), as in decoding and reinforcement learning.
"""

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from polyalign.families import Family, Policy
from polyalign.families.options import (
    Palettes,
    Seeded,
    TrainingOptions,
    palette_policies,
    repeated,
)
from polyalign.settings import Count, Name, Numbers, Positive, Strict, Weights


class Dpo(TrainingOptions):
    """How one policy is trained."""

    pairs: Count = Field(default=10000, description="Pairs that one model is trained on.")
    epochs: Count = Field(default=1, description="Passes over the pairs.")
    batch_size: Count = Field(default=32, description="Pairs in one step.")


class HeldOut(Strict):
    """How many pairs are held out for tests."""

    test_pairs: int = Field(
        default=500,
        ge=0,
        description="Most test pairs, in the same mixture, that judge a model's preferences.",
    )


class Mixed(HeldOut, Dpo):
    """How one policy is trained on a mixture of preference data sets."""

    beta: Positive = Field(description="Strength of the pull towards the base model.")
    mixture: Weights = Field(description="Shares of the preference data sets in the pairs.")


class Labels(TrainingOptions):
    """How one policy is trained on candidates of the base model, labelled by λ·r."""

    pairs: Count | None = Field(
        default=None,
        description="Train on this many pairs of candidates, all if there are fewer, by the "
        "pairwise loss (default: on all candidates of a prompt at once, by the listwise loss).",
    )
    epochs: Count = Field(
        default=1,
        description="Passes over the pairs; with the listwise loss the most passes over the "
        "prompts, and the model is that of the checkpoint that held-out prompts like best. With "
        "`adapt` how often a prompt is read on average, and the model is the last.",
    )
    batch_size: Count = Field(
        default=32, description="Pairs in one step, or prompts with all their candidates."
    )

    adapt: bool = Field(
        default=False,
        description="Move λ while training, with the listwise loss, until the policy realises the "
        "levels of the palette, to within half a standard error, starting from the palette's λ "
        "for training. Candidates say what it realises, before it learns from them. false: keep "
        "that λ.",
    )

    @model_validator(mode="after")
    def _fresh_candidates(self) -> Self:
        if self.adapt and self.pairs:
            raise ValueError(
                "has adapt with pairs; expected all candidates, which say what the policy realises "
                "until it has learnt from them; remove pairs, or adapt"
            )
        return self

    @property
    def judges_checkpoints(self) -> bool:
        """The listwise loss judges them on held-out prompts, if λ stays."""
        return self.pairs is None and not self.adapt


class Labelled(Labels, Palettes):
    """Candidates of the base model, labelled by λ·r with λ for training; β is 1.

    Reference, without pairs: Chen, He, Yuan, Cui, Su and Zhu: Noise contrastive alignment of
    language models with explicit rewards. arXiv 2402.05369, 2024.
    """


class Settings(HeldOut, Dpo, Seeded):
    """Train a model on preference pairs by direct preference optimisation. There is one model for
    every β and every mixture of the data sets. With `labelled`, there is also one for each of its
    palettes, on the base model's candidates that λ·r labels, with β = 1: on all candidates of a
    prompt at once, or on pairs of them.

    Reference: Rafailov, Sharma, Mitchell, Ermon, Manning and Finn: Direct preference optimization.
    arXiv 2305.18290, 2023.
    """

    beta: Numbers = Field(
        default=[0.1], description="Strengths of the pull towards the base model."
    )
    mixtures: dict[Name, Weights] = Field(
        default={},
        description="Mixtures by name; each gives preference data sets their shares of the pairs.",
    )
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

    def unseen(self) -> Self:
        """As for any training, the section `labelled` included."""
        labelled = self.labelled and self.labelled.unseen()
        return super().unseen().model_copy(update={"labelled": labelled})


def policies(settings: Settings) -> list[Policy]:
    """`beta-0.1_harmless-0.3` for every β and mixture; a palette's name for every palette.

    Each also with the further seeds of its section.
    """
    common = settings.model_dump(exclude={"beta", "mixtures", "labelled", "seeds"})
    mixed = [
        Policy(
            "dpo",
            f"beta-{beta:g}_{name}",
            {"beta": beta, "mixture": shares, **common},
            preferences=tuple(sorted(data for data, share in shares.items() if share > 0)),
        )
        for beta in settings.beta
        for name, shares in settings.mixtures.items()
    ]
    labelled = palette_policies("dpo", settings.labelled) if settings.labelled else []
    reads: Literal["pairs", "prompts"] = "prompts"
    if settings.labelled and settings.labelled.pairs:
        reads = "pairs"
    return repeated(mixed, settings.seeds) + [
        replace(policy, uses_pool=True, reads=reads) for policy in labelled
    ]


FAMILY = Family("train", "polyalign.train.dpo:train", Settings, policies, colour=2)
