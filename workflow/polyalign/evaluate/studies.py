"""Several studies side by side: the same policies and values, paired where they share prompts.

Everything is computed from the studies' rewards tables, so that a difference has the standard error
of differences by prompt. A value that two studies score differently has no difference.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyalign.data.specs import differences, read_spec
from polyalign.data.tables import read_table
from polyalign.errors import InputError
from polyalign.evaluate.clusters import cluster_sums, judged_rows, ratio_mean
from polyalign.evaluate.expected import read_choices
from polyalign.evaluate.nats import nats
from polyalign.evaluate.significance import holm
from polyalign.evaluate.winrate import chances, compare
from polyalign.families import BASE, POOL

NAMES_OF_FILES = ("model", "source")
"""Settings of a reward that say where its model is; `content` beside them says which it is."""


@dataclass(frozen=True)
class ByPrompt:
    """Sums of rows by prompt: their mean, and what is paired with another.

    Attributes:
        prompts: the N prompt ids.
        sums: (N, k) sums of the prompts.
        sizes: (N,) rows, or weights, of the prompts.
    """

    prompts: pd.Index
    sums: np.ndarray
    sizes: np.ndarray

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Means (k,) over all rows, and their standard errors, clustered by prompt."""
        return ratio_mean(self.sums, self.sizes)

    def on(self, prompts: pd.Index) -> "ByPrompt":
        """The same of some prompts alone."""
        rows = self.prompts.get_indexer(prompts)
        return ByPrompt(prompts, self.sums[rows], self.sizes[rows])


@dataclass(frozen=True)
class Difference:
    """A mean less that of a reference.

    Attributes:
        mean: (k,) differences.
        se: (k,) their standard errors.
        shared: prompts that are in both; from two on, the difference is that on them alone, with
            the standard error of differences by prompt. Else all prompts count, as independent.
    """

    mean: np.ndarray
    se: np.ndarray
    shared: int


def difference(one: ByPrompt, reference: ByPrompt) -> Difference:
    """`one` less `reference`, paired by prompt where they share two prompts or more.

    Each mean is a ratio of sums over prompts. The paired variance is that of the differences of
    their linearised residuals (Cochran, Sampling Techniques, 1977, §6.9 and §9A).
    """
    shared = one.prompts.intersection(reference.prompts)
    number = len(shared)
    if number < 2:
        (mean, se), (base, base_se) = one.mean(), reference.mean()
        return Difference(mean - base, np.hypot(se, base_se), number)
    means, residuals = [], []
    for side in (one.on(shared), reference.on(shared)):
        mean = side.mean()[0]
        means.append(mean)
        residuals.append((side.sums - mean * side.sizes[:, None]) / side.sizes.mean())
    apart = residuals[0] - residuals[1]
    se = np.sqrt((apart**2).sum(axis=0) / (number - 1) / number)
    return Difference(means[0] - means[1], se, number)


@dataclass(frozen=True)
class Measured:
    """A policy of a study, by prompt.

    Attributes:
        levels: rewards of the values; a choice among candidates by its exact expectation.
        winrates: P(win) + ½ P(tie) against the study's opponent.
        kl: nats to the base model, one column; None where it is not known.
        kl_kind: `samples`, or `choice` for the upper bound of a choice among candidates.
    """

    levels: ByPrompt
    winrates: ByPrompt
    kl: ByPrompt | None
    kl_kind: str


class FinishedStudy:
    """What a finished study left in its folder.

    Args:
        folder: `results/{study}`.

    Raises:
        InputError: if it holds no finished study.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        needed = "config.json", "tables/summary.csv", "tables/winrates.csv"
        absent = [name for name in needed if not (self.folder / name).is_file()]
        if absent:
            raise InputError(
                f"{folder}: no {', '.join(absent)}; expected the folder of a finished study, such "
                "as results/sandbox: run it first (polyalign run)"
            )
        self.config: dict[str, Any] = json.loads(
            (self.folder / "config.json").read_text(encoding="utf-8")
        )
        self.name: str = self.config["study"]
        summary = read_table(self.folder / "tables/summary.csv")
        self.policies: list[str] = (summary["family"] + "/" + summary["variant"]).tolist()
        even = read_table(self.folder / "tables/winrates.csv")
        self.even = even.set_axis(even["family"] + "/" + even["variant"])
        self.values: list[str] = list(self.spec(BASE.name)["values"])

    def labels(self) -> dict[str, str]:
        """Value → its name for readers."""
        values = self.config.get("values", {})
        return {name: str(values.get(name, {}).get("label", name)) for name in self.values}

    def rewards(self, policy: str) -> Path:
        """The rewards table of a policy."""
        return self.folder / "policies" / policy / "rewards.parquet"

    def spec(self, policy: str) -> dict[str, Any]:
        """How a policy was sampled and scored."""
        path = self.rewards(policy)
        if not path.is_file():
            raise InputError(f"{path}: no such table; run the study again (polyalign run)")
        return read_spec(path)

    @cached_property
    def _pool(self) -> pd.DataFrame | None:
        path = self.rewards(POOL.name)
        return read_table(path) if path.is_file() else None

    @cached_property
    def _opponent(self) -> pd.DataFrame:
        opponent = self.config.get("evaluation", {}).get("opponent", BASE.name)
        return read_choices(self.rewards(opponent), self._pool)

    def measured(self, policy: str, values: Sequence[str]) -> Measured:
        """A policy by prompt, on the test prompts."""
        names = list(values)
        drawn = judged_rows(read_table(self.rewards(policy)))
        choices = read_choices(self.rewards(policy), self._pool)
        rows = judged_rows(choices)
        groups, prompts = pd.factorize(rows["prompt_id"])
        weight = chances(rows).astype(np.float64)
        rewards = rows[names].to_numpy(dtype=np.float64) * weight[:, None]
        scores = compare(choices, self._opponent, names)
        kl, kind = _nats(drawn)
        return Measured(
            levels=ByPrompt(
                pd.Index(prompts), cluster_sums(rewards, groups)[0], np.bincount(groups, weight)
            ),
            winrates=ByPrompt(
                pd.Index(scores.prompts), scores.scores, np.ones(len(scores.prompts))
            ),
            kl=kl,
            kl_kind=kind,
        )


def _nats(rows: pd.DataFrame) -> tuple[ByPrompt | None, str]:
    """KL to the base model by prompt, and its kind, as `polyalign.evaluate.levels` has them."""
    spent, kind = nats(rows)
    if spent is None:
        return None, kind
    groups, prompts = pd.factorize(rows["prompt_id"])
    return ByPrompt(
        pd.Index(prompts), *cluster_sums(spent.to_numpy(dtype=np.float64)[:, None], groups)
    ), kind


def scored_differently(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Settings in which two specifications of a reward differ; empty if they score alike.

    Where a model lies does not matter if its content is the same.
    """
    ours, theirs = ({**one} for one in (ours, theirs))
    if ours.get("content") is not None and ours.get("content") == theirs.get("content"):
        for one in (ours, theirs):
            for name in NAMES_OF_FILES:
                one.pop(name, None)
    return [key for key, _, _ in differences(ours, theirs)]


def compare_studies(studies: Sequence[FinishedStudy]) -> pd.DataFrame:
    """Levels, win rates and KL of each policy of each study, and differences from the first study.

    Args:
        studies: at least two.

    Returns:
        One row for each policy, value and study that has both: `policy`, `value`, `study`;
        `level`, `level_se`, `winrate`, `winrate_se` (an exact expectation for a policy that chooses
        among candidates), `even_winrate` (at equal length, as the study has it); `kl`, `kl_se`,
        `kl_kind` and `n_prompts`. Of the other studies than the first: `shared` (prompts that are
        in both), `level_diff`, `level_diff_se`, `winrate_diff`, `winrate_diff_se`, `kl_diff`,
        `kl_diff_se`; `level_p` and `winrate_p`, two-sided p-values of the differences, adjusted for
        the number of them in the table (Holm). NaN where the first study lacks the policy or the
        value, or scores it differently; for KL, where its kind is another one.
    """
    first, *others = studies
    policies = list(dict.fromkeys(name for study in studies for name in study.policies))
    rows: list[dict[str, Any]] = []
    for policy in policies:
        reference = first.measured(policy, first.values) if policy in first.policies else None
        if reference is not None:
            rows += _own(first, policy, reference)
        for study in others:
            if policy in study.policies:
                measured = study.measured(policy, study.values)
                own = _own(study, policy, measured)
                if reference is not None:
                    _add_differences(own, study, measured, first, reference)
                rows += own
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    for what in ("level", "winrate"):
        p = two_sided(table[f"{what}_diff"].to_numpy(), table[f"{what}_diff_se"].to_numpy())
        known = ~np.isnan(p)
        p[known] = holm(p[known])
        table[f"{what}_p"] = p
    return table


COLUMNS = [
    "policy",
    "value",
    "study",
    "level",
    "level_se",
    "winrate",
    "winrate_se",
    "even_winrate",
    "kl",
    "kl_se",
    "kl_kind",
    "n_prompts",
    "shared",
    "level_diff",
    "level_diff_se",
    "winrate_diff",
    "winrate_diff_se",
    "kl_diff",
    "kl_diff_se",
]


def two_sided(difference: np.ndarray, se: np.ndarray) -> np.ndarray:
    """Two-sided p-values (n,) of "there is no difference", by the normal approximation.

    NaN where a standard error is not defined, and where nothing can differ: both are 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(difference) / se
    return np.array([math.erfc(one / math.sqrt(2)) for one in z])


def _own(study: FinishedStudy, policy: str, measured: Measured) -> list[dict[str, Any]]:
    (level, level_se), (rate, rate_se) = measured.levels.mean(), measured.winrates.mean()
    kl, kl_se = (np.full(1, np.nan),) * 2 if measured.kl is None else measured.kl.mean()
    return [
        {
            "policy": policy,
            "value": value,
            "study": study.name,
            "level": level[i],
            "level_se": level_se[i],
            "winrate": rate[i],
            "winrate_se": rate_se[i],
            "even_winrate": study.even.at[policy, f"{value}_even_winrate"],
            "kl": kl[0],
            "kl_se": kl_se[0],
            "kl_kind": measured.kl_kind,
            "n_prompts": len(measured.levels.prompts),
        }
        for i, value in enumerate(study.values)
    ]


def _add_differences(
    rows: list[dict[str, Any]],
    study: FinishedStudy,
    measured: Measured,
    first: FinishedStudy,
    reference: Measured,
) -> None:
    """Add to the rows of a policy how it differs from that of the first study."""
    ours, theirs = study.spec(BASE.name)["values"], first.spec(BASE.name)["values"]
    alike = [
        value
        for value in study.values
        if value in theirs and not scored_differently(ours[value], theirs[value])
    ]
    mine = [study.values.index(value) for value in alike]
    other = [first.values.index(value) for value in alike]
    found = {}
    for what, one, two in (
        ("level", measured.levels, reference.levels),
        ("winrate", measured.winrates, reference.winrates),
    ):
        found[what] = difference(
            ByPrompt(one.prompts, one.sums[:, mine], one.sizes),
            ByPrompt(two.prompts, two.sums[:, other], two.sizes),
        )
    for row in rows:
        row["shared"] = found["level"].shared
        if row["value"] in alike:
            place = alike.index(row["value"])
            for what, apart in found.items():
                row[f"{what}_diff"] = apart.mean[place]
                row[f"{what}_diff_se"] = apart.se[place]
        if measured.kl and reference.kl and measured.kl_kind == reference.kl_kind:
            apart = difference(measured.kl, reference.kl)
            row["kl_diff"], row["kl_diff_se"] = apart.mean[0], apart.se[0]


def config_rows(studies: Sequence[FinishedStudy]) -> list[tuple[str, list[str]]]:
    """What differs in the studies' configs: a key, and what each study says (– for nothing).

    Paths into a study's own results are the same if they are so apart from its name.
    """
    flat = [dict(_flat(_neutral(study))) for study in studies]
    keys = sorted({key for one in flat for key in one} - {"study"})
    return [
        (key, [one.get(key, "–") for one in flat])
        for key in keys
        if len({one.get(key) for one in flat}) > 1
    ]


def _neutral(study: FinishedStudy) -> dict[str, Any]:
    text = json.dumps(study.config, ensure_ascii=False)
    neutral: dict[str, Any] = json.loads(
        text.replace(f"results/{study.config['study']}/", "results/STUDY/")
    )
    return neutral


def _flat(section: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    found = []
    for name, content in section.items():
        if isinstance(content, Mapping) and content:
            found += _flat(content, f"{above}{name}.")
        else:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            found.append((f"{above}{name}", text))
    return found


def notes(studies: Sequence[FinishedStudy]) -> list[str]:
    """What a reader must know before comparing, a sentence each."""
    first, *others = studies
    said = []
    for study in others:
        ours, theirs = study.spec(BASE.name)["values"], first.spec(BASE.name)["values"]
        for value in study.values:
            if value not in theirs:
                said.append(f"{value} is in {study.name}, and not in {first.name}.")
            elif settings := scored_differently(ours[value], theirs[value]):
                said.append(
                    f"{value} is scored differently in {study.name} and {first.name} "
                    f"({', '.join(settings)}): its levels and win rates cannot be compared, and "
                    "have no difference."
                )
        said += [f"{value} is in {first.name}, and not in {study.name}."
                 for value in theirs if value not in ours]  # fmt: skip
        for one, two in ((study, first), (first, study)):
            alone = [policy for policy in one.policies if policy not in two.policies]
            if alone:
                said.append(f"Only {one.name} has {', '.join(alone)}.")
    return said
