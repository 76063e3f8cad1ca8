"""What the judges of a study will be asked at most, and what that costs, before anyone pays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from polyalign import families
from polyalign.families.value_d import ALL_ANSWERS
from polyalign.plan import work
from polyalign.plan.counts import CHARACTERS, Counts, counts
from polyalign.plan.forecast import Planned, stage_of
from polyalign.plan.stages.shared import policy_named
from polyalign.rewards.judging import Judging, calls_made
from polyalign.study import Study

ANSWER = 512
"""Tokens of an answer without a limit of its own, assumed."""

PAIRS = "evaluation.judge"
"""Key of the judge of pairs."""


@dataclass(frozen=True)
class Bill:
    """What one judge will be asked by the jobs that are still to run.

    Attributes:
        key: its section of the config.
        judging: its settings.
        calls: requests at most, without those that are tried again.
        question: tokens of a question.
        made: requests that it has had already.
    """

    key: str
    judging: Judging
    calls: float
    question: float
    made: int

    @property
    def answer(self) -> float:
        """Tokens of an answer at most."""
        return self.judging.max_tokens or ANSWER

    @property
    def cost(self) -> float | None:
        """What the calls cost at most, in the currency of the price; None without a price."""
        price = self.judging.price
        if price is None:
            return None
        return self.calls * (price.question * self.question + price.answer * self.answer) / 1e6

    def said(self) -> str:
        """The bill in a sentence."""
        tokens = (
            f"about {_count(self.calls * self.question)} tokens of questions and at most "
            f"{_count(self.calls * self.answer)} of answers"
        )
        cost = "no price is given" if self.cost is None else f"at most {_money(self.cost)}"
        return (
            f"{self.key}: at most {_count(self.calls)} calls of {self.judging.model}, {tokens}: "
            f"{cost}. Questions that it has answered before cost nothing; calls that are tried "
            "again come on top."
        )

    def warnings(self) -> list[str]:
        """Whether the calls may be more than are allowed."""
        most = self.judging.max_calls
        if most is None or self.made + self.calls <= most:
            return []
        return [
            f"{self.key}.max_calls allows {most:,} calls, of which {self.made:,} are made, and up "
            f"to {_count(self.calls)} more are needed: the jobs stop there, and keep what they "
            "have; raise it, or ask for less"
        ]


def bills(study: Study, jobs: Sequence[Planned]) -> list[Bill]:
    """The bill of each judge of a study, for the jobs that are still to run."""
    judges: dict[str, Judging] = {
        f"values.{name}": spec for name, spec in study.values.items() if isinstance(spec, Judging)
    }
    folders = {f"values.{name}": study.scorer(name).get("folder", "") for name in study.values}
    if pairs := study.pair_judge:
        judges[PAIRS], folders[PAIRS] = pairs, pairs.folder
    if not judges:
        return []
    counted = counts(study)
    calls = dict.fromkeys(judges, 0.0)
    for job in jobs:
        stage, fixed = stage_of(study, job.rule)
        if stage == "judge":
            calls[PAIRS] += work.pairs_of(study, counted) * 2
        for value, texts in _scored(study, stage, {**fixed, **job.wildcards}, counted).items():
            if f"values.{value}" in calls:
                calls[f"values.{value}"] += texts
    return [
        Bill(
            key,
            spec,
            calls[key],
            _question(spec.model_dump()["rubric"], counted),
            calls_made(folders[key]),
        )
        for key, spec in judges.items()
    ]


def _scored(
    study: Study, stage: str, wildcards: Mapping[str, str], counted: Counts
) -> dict[str, float]:
    """Value → texts that a job scores with it, at most."""
    if stage not in ("annotate", "generate_guided", "steer", "train"):
        return {}
    policy = policy_named(study, wildcards)
    if stage == "annotate":
        return {wildcards["value"]: work.texts_of(study, policy, counted)[0]}
    if stage == "steer":
        return dict.fromkeys(study.weighed(policy), float(ALL_ANSWERS))
    if stage == "generate_guided" and not families.family(policy.family).learns:
        rows, _ = work.texts_of(study, policy, counted)
        return dict.fromkeys(study.weighed(policy), work.guided_texts(study, policy, rows))
    if stage == "train" and policy.is_rewarded:
        return dict.fromkeys(study.weighed(policy), work.drawn_texts(policy))
    return {}


def _question(rubric: str, counted: Counts) -> float:
    """Tokens of a question: of the rubric, and of the texts in it."""
    lengths = {"prompt": counted.prompts.tokens}
    return sum(
        len(text) / CHARACTERS + (lengths.get(name, counted.response) if name else 0.0)
        for text, name, _, _ in Formatter().parse(rubric)
    )


def _count(number: float) -> str:
    """A number of three figures at most, since it is an estimate."""
    sizes = ((" billion", 1e9), (" million", 1e6), ("", 0.0))
    unit, size = next(one for one in sizes if number >= one[1])
    return f"{float(f'{number / (size or 1.0):.3g}'):,g}{unit}"


def _money(cost: float) -> str:
    return f"{cost:,.2f}" if cost >= 0.01 else f"{cost:.2g}"
