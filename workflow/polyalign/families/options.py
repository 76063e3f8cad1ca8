"""What the sections of several families share: how to train, and whose λ is taken.

A trainer takes its family's section itself, such as `families.rloo.Rloo`; the section of the config
adds what makes several policies of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from polyalign.families import Policy
from polyalign.settings import Count, Lam, Name, Names, Positive, Strict, unique


class Lora(Strict):
    """Train low-rank adapters (LoRA) instead of all weights.

    Reference: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen: LoRA: low-rank adaptation of
    large language models. arXiv 2106.09685, 2021.
    """

    rank: Count = Field(default=16, description="Rank of an adapter.")
    alpha: Count = Field(
        default=32, description="An adapter is scaled by alpha / rank in its layer."
    )
    targets: list[str] = Field(
        default=["all-linear"],
        min_length=1,
        description="Layers that get adapters, by how their names end; all-linear: every linear "
        "layer except the output.",
    )
    merge: bool = Field(
        default=True,
        description="Merge the adapters into the weights at the end; otherwise the model's folder "
        "holds the adapters and names its base model.",
    )
    four_bit: bool = Field(
        default=False,
        description="Keep the frozen weights in 4 bits (QLoRA); needs CUDA and bitsandbytes.",
    )


class Training(Strict):
    """How a model is trained."""

    @property
    def judges_checkpoints(self) -> bool:
        """Whether the model is the best of its checkpoints, so that their steps decide it."""
        return False

    def unseen(self) -> Self:
        """The same training, with defaults for the settings that its result does not show.

        Where it reports to and, unless checkpoints are judged, when it writes them.
        """
        fields = type(self).model_fields
        names = {"report_to", "save_every"} & set(fields)
        if self.judges_checkpoints:
            names -= {"save_every"}
        return self.model_copy(update={name: fields[name].default for name in names})


HELD_ON_CPU = 2**30
"""Most bytes that the gradient of a part of a batch takes on a CPU (see `train.parts`)."""


class TrainingOptions(Training):
    """How a model is trained, whatever its loss."""

    learning_rate: Positive = Field(default=1.0e-6, description="Peak step size of the optimiser.")
    batch_size: Count = Field(default=32, description="Rows in one step, over all processes.")
    accumulation: Count = Field(
        default=1,
        description="Parts that a step's batch is computed in, to save memory; on a CPU there are "
        "more by themselves where a part would take over 1 GB. The gradient is that of the batch.",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations twice, to save memory."
    )
    lora: Lora | None = Field(
        default=None, description="Train low-rank adapters (default: train all weights)."
    )
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        default="none", description="Tracker to send metrics to, beside the model's own CSV file."
    )
    save_every: Count = Field(
        default=50,
        description="Least steps between checkpoints; a killed run resumes at the last one.",
    )


class RewardTraining(TrainingOptions):
    """How a reward model is trained."""

    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Number format that training computes in on CUDA."
    )
    epochs: Count = Field(default=1, description="Passes over the data.")
    learning_rate: Positive = Field(default=1.0e-5, description="Peak step size of the optimiser.")
    batch_size: Count = Field(default=16, description="Pairs, or texts, in one step.")
    max_length: Count | None = Field(
        default=None,
        description="Longest text in tokens: a longer labelled text is cut, a pair with a longer "
        "one is left out (default: what the model reads).",
    )
    optimiser: Literal["adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "rmsprop"] = Field(
        default="adamw_torch_fused", description="Optimiser, by its name in transformers."
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="How the step size falls from its peak, after the warm-up."
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of the steps in which the step size rises to its peak."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Decay of the weights, as in AdamW."
    )
    evaluate_every: Count | None = Field(
        default=None,
        description="Least steps between two looks at the held-out data while training; their loss "
        "is `eval_loss` in the metrics (default: only at the end).",
    )


class LabelTable(Strict):
    """Texts with labels or ratings."""

    path: str = Field(
        description="Table .csv, .parquet, .jsonl or .json, also in a package "
        "(`package:NAME/PATH`) or inside an archive (`PATH.zip/TABLE.csv`). Columns: `text`, "
        "`label` or `rating`, and, if it is divided already, `split` (train or test).",
    )
    kind: Literal["classes", "several", "ratings"] = Field(
        default="classes",
        description="What the texts have. classes: one of several classes, in `label`. several: "
        "any number of labels, a list in `label`. ratings: numbers by people, in `rating`, one or "
        "a list of all raters'; the model learns their mean.",
    )
    names: Names | None = Field(
        default=None,
        description="Names of the classes or labels, in the order of the model's outputs; the "
        "column `label` holds names, or numbers from 0 (default: label_0 and label_1; for ratings: "
        "rating).",
    )
    group: str | None = Field(
        default=None,
        description="Column such as `domain` or `prompt`: texts with the same entry are all "
        "trained on, or all held out (default: each text by itself).",
    )
    held_out: Annotated[float, Field(gt=0, lt=1)] | Names = Field(
        default=0.1,
        description="Without a column `split`: the share of texts or groups that is held out, by "
        "hash, or the names of the groups that are.",
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.kind == "ratings" and self.names is not None and len(self.names) != 1:
            raise ValueError(
                f"has {len(self.names)} names for ratings; expected one, of the only output; "
                "name one"
            )
        if self.kind == "classes" and self.names is not None and len(self.names) < 2:
            raise ValueError("has one class; expected at least two; name the others")
        if isinstance(self.held_out, list) and self.group is None:
            raise ValueError(
                "names groups to hold out, but no `group`; expected the column that they stand in; "
                "name it"
            )
        return self

    @property
    def listed(self) -> list[str]:
        """The names of the model's outputs."""
        if self.names is not None:
            return list(self.names)
        return ["rating"] if self.kind == "ratings" else ["label_0", "label_1"]


class Steered(TrainingOptions):
    """How a policy is trained by reinforcement learning towards a palette."""

    adapt: bool = Field(
        default=True,
        description="Move λ while training until the policy realises the levels of the palette, "
        "starting from the palette's λ for training; training ends early when it does. false: "
        "keep that λ, for all steps.",
    )
    start: Name | None = Field(
        default=None,
        description="Family, such as dpo or sft, whose model for the same palette the training "
        "starts from (default: the base model). The KL is to the base model all the same.",
    )


Random = Annotated[int, Field(ge=0, le=99)]
"""How many random palettes."""


class Seeded(Strict):
    """The seeds that policies are trained with."""

    seeds: (
        Annotated[
            list[Annotated[int, Field(ge=0, lt=2**32)]],
            Field(min_length=2),
            AfterValidator(unique),
        ]
        | None
    ) = Field(
        default=None,
        description="Train and judge each policy once per seed, to see how far its numbers depend "
        "on that; random λ (`morl`) and, in `dpo`, the policies of `labelled`, which has its own "
        "`seeds`, are not repeated. With the first seed a policy keeps its "
        "name, with a further one it is `NAME.seed-2`; begin with the study's `seed` to keep a "
        "model that is trained already (default: the study's seed alone).",
    )


class Palettes(Seeded):
    """The palettes that models are trained for."""

    palettes: Names | None = Field(
        default=None, description="Palettes to train for; each becomes a policy with its name."
    )
    random: Random = Field(
        default=0,
        description="Train for so many random palettes as well, `random-01` and so on, that the "
        "study draws from the pool.",
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.palettes and not self.random:
            raise ValueError(
                "has neither `palettes` nor `random`; expected one of them, or both; add one"
            )
        return self


class RandomLam(Strict):
    """λ drawn at random, without a palette: its direction is uniform, and its sum is uniform
    between 0 and the cap. More draws leave the first ones as they were.
    """

    count: Count = Field(
        default=10, description="How many random λ; they become `draw-1`, `draw-2`, …."
    )
    cap: Positive = Field(default=6.0, description="Largest sum of λ, in 1 / the rewards' units.")
    values: Names | None = Field(
        default=None, description="Values that get a weight (default: all of the study)."
    )

    @property
    def names(self) -> list[str]:
        """`draw-1`, `draw-2`, …."""
        return [f"draw-{number}" for number in range(1, self.count + 1)]


class Morl(RandomLam):
    """Models for random λ, without a palette, from the base model; λ stays as it was drawn. The
    family morl-d decodes with the same λ if it has the same cap and values.
    """

    values: Names = Field(description="Values that get a weight; they are the reward.")


class Rewarded(Palettes):
    """What models are trained for by reinforcement learning: palettes, and random λ."""

    morl: Morl | None = Field(
        default=None, description="Train with random λ as well, as a baseline for the palettes."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.palettes and not self.random and not self.morl:
            raise ValueError(
                "has neither `palettes` nor `random`, nor `morl`; expected one of them, or more; "
                "add one"
            )
        if self.morl and (twice := sorted(set(self.palettes or ()) & set(self.morl.names))):
            raise ValueError(
                f"{twice[0]!r} names both a palette and a random λ of `morl`; expected one policy "
                "per name; rename the palette"
            )
        return self


class LamOptions(Strict):
    """Whose λ is taken."""

    palettes: Names | None = Field(
        default=None, description="Palettes whose λ is used; each becomes a policy with its name."
    )
    random: Random = Field(
        default=0,
        description="So many random palettes as well, `random-01` and so on, that the study draws "
        "from the pool: each is uniform in the volume that is supported along a random direction "
        "from the base levels. Families share them; more leave the first ones as they are.",
    )
    lam: dict[Name, Lam] = Field(
        default={},
        description="Your own λ by name: one number ≥ 0 per value, in 1 / the rewards' units; each "
        "becomes a policy with its name. Without a palette there is no target and no verdict.",
    )

    @model_validator(mode="after")
    def _each_policy_once(self) -> Self:
        if not self.palettes and not self.lam and not self.random:
            raise ValueError(
                "has neither `palettes` nor `lam`, nor `random`; expected one of them, or more; "
                "add one"
            )
        if twice := sorted(set(self.palettes or ()) & set(self.lam)):
            raise ValueError(
                f"{twice[0]!r} names both a palette and a λ; expected one policy per name; "
                "rename it in `lam`"
            )
        return self


TARGETS = {"palettes", "random", "morl", "seeds"}
"""The keys of a section that say what is trained for and how often, and not how."""


def repeated(policies: Sequence[Policy], seeds: Sequence[int] | None) -> list[Policy]:
    """Each policy with the first seed, then itself with every further one as `NAME.seed-2`.

    Args:
        policies: policies of one family, with the study's seed.
        seeds: the seeds; without them the policies stay as they are.
    """
    if not seeds:
        return list(policies)
    first, *others = seeds
    return [
        made
        for policy in policies
        for made in (
            replace(policy, seed=first),
            *(
                replace(
                    policy,
                    variant=f"{policy.variant}.seed-{seed}",
                    seed=seed,
                    repeats=policy.name,
                )
                for seed in others
            ),
        )
    ]


def drawn_names(count: int) -> list[str]:
    """Names of the first random palettes of a study: known before any is drawn."""
    return [f"random-{number:02d}" for number in range(1, count + 1)]


def palette_names(settings: Palettes | LamOptions) -> list[str]:
    """The palettes of a section: those that it names, then the random ones."""
    return [*(settings.palettes or ()), *drawn_names(settings.random)]


def palette_policies(family: str, settings: Palettes) -> list[Policy]:
    """One policy per palette, with the palette's name, and its repetitions with further seeds."""
    training = settings.model_dump(exclude=TARGETS)
    start = training.get("start")
    made = [
        Policy(family, name, training, palette=name, start=start and f"{start}/{name}")
        for name in palette_names(settings)
    ]
    return repeated(made, settings.seeds)


def rewarded_policies(family: str, settings: Rewarded) -> list[Policy]:
    """One policy per palette, with the palette's name, and one per random λ: `draw-1`, …."""
    of_palettes = palette_policies(family, settings)
    if settings.morl is None:
        return of_palettes
    own = {
        **settings.model_dump(exclude=TARGETS),
        **{"adapt": False, "start": None},
        "morl": settings.morl.model_dump(include={"cap", "values"}),
    }
    values = tuple(settings.morl.values)
    return of_palettes + [Policy(family, name, own, values=values) for name in settings.morl.names]


def lam_policies(family: str, settings: LamOptions) -> list[Policy]:
    """One policy per palette and one per λ of the user, with their names."""
    options = settings.model_dump(exclude={"palettes", "random", "lam"})
    of_palettes = [Policy(family, name, options, palette=name) for name in palette_names(settings)]
    own = [
        Policy(family, name, {**options, "lam": lam}, values=tuple(lam))
        for name, lam in settings.lam.items()
    ]
    return of_palettes + own
