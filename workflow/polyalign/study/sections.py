"""The sections of a study's config: every key, its default and its description."""

from math import isfinite
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from polyalign.data.keys import SAMPLE_COLUMNS
from polyalign.errors import InputError
from polyalign.families.options import LabelTable, RewardTraining
from polyalign.map.words import check_word, rows_of
from polyalign.rewards.judging import PairJudge
from polyalign.settings import (
    Count,
    Name,
    Names,
    Numbers,
    Positive,
    PromptTemplate,
    SamplingRule,
    Strict,
    looks_like_number,
    unique,
)

OnInfeasible = Literal["report", "adjust", "fail"]
"""What becomes of a palette that no policy reaches."""

RANDOM = "random"
"""Level of a palette that the study draws itself; no level that a config can ask for."""

SLACKS = {"published-0.03": 0.03, "published-0.06": 0.06}


def _level(level: Any) -> Any:
    """Refuse what is neither a number nor a level in the palettes' grammar."""
    number = isinstance(level, int | float) and not isinstance(level, bool) and isfinite(level)
    if not number and not isinstance(level, str):
        raise ValueError(
            f"{level!r} is no level; expected a number or text like q70, mean, mean+0.5sd, +10%, "
            "max, <= q30; write one of these"
        )
    if isinstance(level, str):
        if written := looks_like_number(level):
            raise ValueError(f"{level!r} is read as text; expected a number; write {written}")
        try:
            check_word(level)
        except InputError as fault:
            raise ValueError(f"{fault}; write one of these") from fault
    return level


def _palette(levels: dict[str, float | str]) -> dict[str, float | str]:
    """Refuse several values to maximise."""
    try:
        rows_of(levels)
    except InputError as fault:
        raise ValueError(f"{fault}; write a level for the others") from fault
    return levels


def _resamples(count: int) -> int:
    if count == 1:
        raise ValueError(
            "1 resample has no spread; expected 0 (the delta method) or at least 2; raise it"
        )
    return count


def value_name(name: str) -> str:
    if name in SAMPLE_COLUMNS:
        raise ValueError(
            f"{name!r} is a column of every table of samples; expected another name; rename it"
        )
    return name


def _slack(slack: Any) -> Any:
    number = isinstance(slack, int | float) and not isinstance(slack, bool)
    if slack in SLACKS if isinstance(slack, str) else number and 0 <= slack <= 1:
        return slack
    raise ValueError(
        f"{slack!r} is no slack; expected a number from 0 to 1, or {' or '.join(SLACKS)}; "
        "write one of these"
    )


Slack = Annotated[float | str, BeforeValidator(_slack)]
Level = Annotated[float | str, BeforeValidator(_level)]
Palette = Annotated[dict[str, Level], Field(min_length=1), AfterValidator(_palette)]
Turns = Literal["all", "first"]
Dtype = Literal["float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]


class Sandbox(Strict):
    """The small world that the sandbox study writes and trains its models on."""

    PARAMETERS: ClassVar[float] = 0.75e6
    """Parameters of each of its models, rounded up, for estimates of memory and time."""

    dialogues: Count = Field(
        default=12000, description="Dialogues in the corpus of the base model."
    )
    pairs: Count = Field(default=1500, description="Preference pairs in each data set.")
    steps: Count = Field(default=2000, description="Optimisation steps of the base model.")


class Model(Strict):
    """The base model p0, which is aligned."""

    source: str = Field(
        description="Hub id, folder (of a model or of a LoRA adapter), GGUF file, "
        "`package:NAME/PATH` of an installed package, or "
        "`results/<study>/models/base/base`, which the sandbox trains."
    )
    revision: str | None = Field(default=None, description="Commit or tag of a hub model.")
    dtype: Dtype = Field(default="float32", description="Number format that the model computes in.")
    device: Device = Field(
        default="auto", description="Where the model runs; auto takes CUDA where there is one."
    )
    device_map: Literal["auto", "balanced", "sequential"] | None = Field(
        default=None,
        description="Spread the model over several GPUs, as accelerate's device map of that name.",
    )


class Opening(Strict):
    """Where the opening of a text is cut: at a word boundary, drawn by the seed and the text."""

    shortest: Count = Field(default=20, description="Least characters.")
    longest: Count = Field(default=30, description="Most characters.")

    @model_validator(mode="after")
    def _in_order(self) -> "Opening":
        if self.longest < self.shortest:
            raise ValueError(
                f"longest {self.longest} is below shortest {self.shortest}; expected at least as "
                "much; change one of them"
            )
        return self


class PromptSource(Strict):
    """One source of prompts."""

    path: str = Field(
        description="Folder in Anthropic HH's layout, .jsonl or .jsonl.gz file, .csv, .parquet or "
        ".json table, or hub data set `owner/name` or `owner/name/folder`. Prompts are texts or "
        "lists of chat messages, or what comes before the answers of preference pairs."
    )
    split: str = Field(
        default="test", description="File of the folder, or split of the hub data set."
    )
    column: str | None = Field(
        default=None,
        description="Column of the prompts (default: `prompt`, `instruction`, or what is asked in "
        "the conversations of `chosen` or `messages`; with `opening`: `text`).",
    )
    turns: Turns = Field(
        default="all",
        description="What is the prompt of a conversation: all before the answer, or its first "
        "question alone, as in the published tables.",
    )
    input_column: str | None = Field(
        default=None,
        description="Column of what an instruction is applied to, where it is not empty; "
        "`template: alpaca` has a place for it, elsewhere it follows the instruction.",
    )
    opening: Opening | None = Field(
        default=None,
        description="Take the openings of the texts, as for IMDB reviews, and not the whole.",
    )


class Prompts(Strict):
    """The prompts that policies are fitted on and judged on."""

    sources: list[PromptSource] = Field(
        default=[],
        description="Where the prompts come from; at least one, unless `rewards` is given.",
    )
    template: PromptTemplate = Field(
        default="{prompt}",
        description="What the model reads: text around {prompt}, in which further turns are named "
        "as in Anthropic's data; `chat`, the chat template of the model's tokenizer; or `alpaca`, "
        "Alpaca's instruction with an input or without.",
    )
    system: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="System prompt before every prompt and preference pair that has none (default: "
        "none). In a template without a place for it, it stands first.",
    )
    limit: Count | None = Field(
        default=None, description="At most this many distinct prompts (default: all there are)."
    )
    longest: Count | None = Field(
        default=None,
        description="Leave out longer prompts: in tokens of the model, with the template (default: "
        "a prompt that leaves no room for a response is an error).",
    )
    test_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.5,
        description="Share of prompts, by hash, that policies are judged on, not fitted. 0, in a "
        "study from scores without policies: λ is fitted on all prompts, as published tables are.",
    )


class Sampling(SamplingRule):
    """How the base policy p0 samples; decoding, training and evaluation use the same."""

    engine: Literal["transformers", "vllm"] = Field(
        default="transformers",
        description="What generates; vllm must be installed, and its log-probabilities are "
        "computed by transformers.",
    )
    batch_size: Count | None = Field(
        default=None,
        description="Responses generated at once (default: 256, or the largest power of two below "
        "it whose keys and values take at most 8 GB).",
    )
    candidates: Count = Field(
        default=16,
        description="Responses to each prompt in the pool that decoding chooses from (K).",
    )
    evaluation_candidates: Count = Field(
        default=4, description="Responses to each test prompt of every model that is evaluated."
    )
    shards: Count = Field(default=4, description="Jobs that the pool is generated and scored in.")


def _as_table(labels: Any) -> Any:
    """A path alone is a table of that path."""
    return {"path": labels} if isinstance(labels, str) else labels


class RewardModel(RewardTraining):
    """A reward model that the workflow trains, as results/<study>/models/reward/<name>."""

    preferences: str | None = Field(
        default=None, description="Preference data set to train on; either this or `labels`."
    )
    labels: (
        Annotated[LabelTable, BeforeValidator(_as_table, json_schema_input_type=str | LabelTable)]
        | None
    ) = Field(
        default=None,
        description="Texts with labels or ratings to train on: a table, or its path alone if its "
        "labels are 0 and 1.",
    )
    source: str | None = Field(
        default=None, description="Model to start from (default: the study's model)."
    )
    resample: Count | None = Field(
        default=None,
        description="Train on the bootstrap resample of this number, with another seed, to see how "
        "far results depend on whom people asked: each text's raters, or, where texts have one "
        "label, groups of texts, or pairs, are drawn with replacement (default: the data as they "
        "are).",
    )

    @model_validator(mode="after")
    def _one_kind_of_data(self) -> "RewardModel":
        if (self.preferences is None) == (self.labels is None):
            raise ValueError(
                "has both `preferences` and `labels`, or neither; expected one of them; "
                "give the one that it is trained on"
            )
        return self


class Preferences(Strict):
    """A set of preference pairs: of two responses to a prompt, the better one."""

    path: str = Field(
        description="Folder in Anthropic HH's layout, .jsonl, .jsonl.gz or .parquet file, or hub "
        "data set `owner/name` or `owner/name/folder`. Its rows hold `prompt`, `chosen` and "
        "`rejected`, texts or lists of chat messages; or whole conversations under `chosen` and "
        "`rejected`; or responses with a `label`."
    )
    train_split: str = Field(
        default="train",
        description="File of the folder, or split of the hub data set, to train on.",
    )
    test_split: str = Field(
        default="test",
        description="The one that is held out. Where it is also `train_split`, and of a single "
        "file, a tenth of the prompts are held out.",
    )
    turns: Turns = Field(
        default="all",
        description="What is read of a conversation: its first answers that differ, and all before "
        "them, or the first question and its answers alone, as in the published tables.",
    )
    label: str | None = Field(
        default=None,
        description="What decides which response is better, where rows do not name it: the column "
        "with the number of `response_0` or `response_1` (PKU-SafeRLHF), or the attribute that "
        "responses are rated by (HelpSteer, UltraFeedback), higher being better.",
    )
    max_words: Count | None = Field(
        default=None,
        description="Responses, and every turn of a prompt, are cut to this many words (default: "
        "no cut); a response that was cut gets no end token.",
    )


class Map(Strict):
    """How λ is found for a palette."""

    scope: Literal["auto", "prompt", "joint"] = Field(
        default="auto",
        description="One dual a prompt, or one over all samples; auto takes prompt where there "
        "are 8 candidates or more, else joint.",
    )
    on_infeasible: OnInfeasible | dict[Name, OnInfeasible] = Field(
        default="report",
        description="What becomes of a palette that no policy reaches. report: its policies are "
        "left out, and the report shows why. adjust: go from the base levels towards it as far as "
        "it is supported, and say so. fail: stop. For all palettes, or by palette (the others: "
        "report). The palette of evaluation.opponent cannot be left out: report means fail there.",
    )
    min_ess: Positive | None = Field(
        default=None,
        description="A palette is unsupported below this effective sample size (scope prompt: "
        "mean a prompt; default: 2 in scope prompt, 100 in scope joint).",
    )
    max_weight: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="A palette is unsupported above this largest weight (scope prompt: mean over "
        "prompts; default: 0.75 in scope prompt, 0.1 in scope joint).",
    )
    max_kl_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.9,
        description="A palette is unsupported above this share of the KL that choosing among the "
        "candidates can spend (scope prompt only).",
    )
    max_norm: Positive | None = Field(
        default=None,
        description="A palette is unsupported above this sum of λ, in 1 / the rewards' units "
        "(default: any).",
    )
    resamples: Annotated[int, Field(ge=0), AfterValidator(_resamples)] = Field(
        default=200,
        description="Resamples of the prompts behind the intervals of λ; 0: the delta method, "
        "which takes levels such as q70 as given.",
    )


class Hypervolume(Strict):
    """Where the hypervolume of a family starts, and in what units it is."""

    reference: dict[str, float] = Field(
        default={}, description="Reference level by value (default: the base model's level)."
    )
    scale: dict[str, Positive] = Field(
        default={},
        description="Unit by value (default: the standard deviation of the base model's rewards).",
    )


class Evaluation(Strict):
    """How policies are judged."""

    bootstrap: Count = Field(
        default=1000, description="Resamples of the prompts behind every confidence interval."
    )
    opponent: str = Field(
        default="base/base",
        description="The policy (`family/variant`) that win rates compare with.",
    )
    values: Annotated[list[str], AfterValidator(unique)] = Field(
        default=[],
        description="The values in which a policy has to be better: those of the joint claim, of "
        "navigation efficiency and of hypervolume (default: those that a palette raises). Figures "
        "of two values and of λ take their axes from them, in this order.",
    )
    evaluate_only: Annotated[list[str], AfterValidator(unique)] = Field(
        default=[],
        description="Values that are measured but never in λ, to see over-optimisation; no "
        "palette may name them.",
    )
    replicates: dict[str, Names] = Field(
        default={},
        description="Value → values that score the same by another model, such as one trained on a "
        "`resample`, to see how far λ and levels depend on the reward model (the figure "
        "`replicates`). They stand in `evaluate_only`.",
    )
    slack: Slack = Field(
        default=0.0,
        description="How far below one half a win rate may be and still count as navigable: a "
        "share, or the published `published-0.03` or `published-0.06`. A level may be as far below "
        "the base level, in standard deviations of the base model's rewards.",
    )
    judge: PairJudge | None = Field(
        default=None,
        description="A language model whose win rates stand beside those of the rewards.",
    )
    hypervolume: Hypervolume = Field(
        default=Hypervolume(), description="Origin and units of hypervolumes."
    )


class Explore(Strict):
    """What is computed from the pool for figures alone; a figure that is not drawn costs none."""

    draws: Count = Field(default=200, description="Random palettes, and random λ, of each kind.")
    adjusted: Count = Field(
        default=30,
        description="How many of the random palettes of each number of values are also solved one "
        "by one, with the time that it takes, and adjusted where they are infeasible.",
    )
    max_norm: Positive = Field(
        default=5.0, description="Largest Σλ of a random λ, in base standard deviations."
    )
    budgets: Numbers | None = Field(
        default=None,
        description="KL budgets (nats) of the exact fronts (default: the KL of the palettes, so "
        "that their policies are compared with a front of their own KL).",
    )
    points: Annotated[int, Field(ge=2)] = Field(
        default=25, description="Points of each front between two values."
    )
    candidates: Annotated[list[Count], Field(min_length=1), AfterValidator(unique)] = Field(
        default=[2, 4, 8, 16],
        description="Numbers of candidates to choose among, for the figure `candidates`: the first "
        "ones of the pool, so that nothing is generated again.",
    )
    rounds: Count = Field(default=8, description="Rounds of sequential alignment.")
    steps: Annotated[int, Field(ge=2)] = Field(
        default=24, description="Points of a palette's path, and of an axis of its dual."
    )
    beyond: Annotated[float, Field(ge=1)] = Field(
        default=2.5, description="Where a path ends, in lengths of base to asked level."
    )
