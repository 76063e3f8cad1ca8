"""`value-d`: guidance by learnt soft values of unfinished responses, for any λ."""

from dataclasses import replace

from pydantic import Field

from polyalign.families import Family, Policy
from polyalign.families.options import LamOptions, Training, lam_policies
from polyalign.settings import Count, Names, Positive

ROUNDS, ANSWERS = 16, 256
"""Rounds in which λ is moved, and answers that are drawn and scored in one."""

ALL_ANSWERS = ROUNDS * ANSWERS
"""Answers of all rounds."""


class ValueTraining(Training):
    """How the study's value model is trained, one for all λ."""

    values: Names | None = Field(
        default=None,
        description="Values that λ may weigh (default: those that palettes name, else all).",
    )
    rank: Count = Field(
        default=4, description="Rank of the change of each linear layer, for each value."
    )
    strength: Positive = Field(
        default=1.3,
        description="Largest standard deviation of λ·r within a prompt (nats) that is trained on; "
        "the KL of p_λ is about half its square.",
    )
    epochs: Count = Field(default=2, description="Passes over the pool.")
    learning_rate: Positive = Field(default=5.0e-3, description="Peak step size of the optimiser.")
    batch_size: Count = Field(default=8, description="Prompts in one step, with all candidates.")
    save_every: Count = Field(
        default=50,
        description="Least steps between checkpoints; a killed run resumes at the last one.",
    )


class Settings(ValueTraining, LamOptions):
    """Draw each token from p0(v) exp(V(text v, λ) − V(text, λ)), where V is the soft value of an
    unfinished response: log E[exp(λ·r of the whole response)] under p0. One value model for all λ
    is trained on the base model's candidates and their rewards: λ is its input, and a new palette
    needs no training. No reward is computed while it decodes. λ starts as the palette's λ for
    training, and moves until the policy realises the palette on prompts of the fit (`adapt`).

    Reference: Yang and Klein: FUDGE: controlled text generation with future discriminators.
    arXiv 2104.05218, 2021.
    """

    adapt: bool = Field(
        default=True,
        description="Move λ of a palette, before the policy is sampled, until its answers to "
        "prompts of the fit realise the levels of the palette: "
        f"{ROUNDS} rounds of {ANSWERS} answers, which are drawn and scored. false: keep "
        "the palette's λ for training.",
    )


def policies(settings: Settings) -> list[Policy]:
    """One policy per palette and per λ; how the value model is trained is no setting of theirs."""
    training = set(ValueTraining.model_fields)
    return [
        replace(
            policy,
            settings={
                name: one
                for name, one in policy.settings.items()
                if name not in training and (name != "adapt" or policy.palette)
            },
            uses_pool=True,
        )
        for policy in lam_policies("value-d", settings)
    ]


FAMILY = Family("sample", "polyalign.sampling.valued:engine", Settings, policies, learns=True)
