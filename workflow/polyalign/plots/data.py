"""What figures are drawn from: the study's small tables, read once, by policy and value."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyalign.errors import InputError
from polyalign.families import BASE, Policy
from polyalign.palettes.record import Palette, read_palettes
from polyalign.paths import model_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FigureData:
    """A study's tables; a table that a figure does not need is empty.

    Attributes:
        labels: value → its name on axes; gives the values and their order.
        units: value → its unit on axes, maybe empty.
        policies: policy (`family/variant`) → the palette that it realises, or None; in order.
        levels: policy → its levels, indexed by value.
        winrates: policy → its win rates, indexed by value.
        rewards: policy → the test rows of its rewards table.
        pool: rewards table of the base model's candidates, or None.
        palettes: name → solved palette.
        training: model (`family/variant`) → its metrics by step.
        jobs: pairs of rules; the first makes a file that the second reads.
        rules: rule → the number of its jobs.
        tables: the study's other tables, by name.
        chosen: the values in which a policy has to be better.
        evaluate_only: the values that λ never weighs.
        mixtures: policy → shares of the preferences, or weights of the policies, it is made from.
        policy: the policy that a figure of one policy is of.
        seeds: policy → number of the seeds that it is trained with, if several, and that its levels
            are the mean of; the figure's `needs` must name `seeds`.
        left_out: a sentence on policies that are not among `policies`; empty if all are.
    """

    labels: Mapping[str, str]
    units: Mapping[str, str]
    policies: Mapping[str, str | None]
    levels: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    winrates: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    rewards: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    pool: "pd.DataFrame | None" = None
    palettes: Mapping[str, Palette] = field(default_factory=dict)
    training: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    jobs: Sequence[tuple[str, str]] = ()
    rules: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    chosen: Sequence[str] = ()
    evaluate_only: Sequence[str] = ()
    mixtures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    policy: str | None = None
    seeds: Mapping[str, int] = field(default_factory=dict)
    left_out: str = ""

    @property
    def families(self) -> list[str]:
        """Families of the policies without the base model, in order."""
        return list(dict.fromkeys(family_of(name) for name in self.policies if name != BASE.name))

    @property
    def raised(self) -> list[str]:
        """The values that some palette raises above the base level; all of them if none does."""
        raised = {value for palette in self.palettes.values() for value in palette.raised}
        return [value for value in self.labels if value in raised] or list(self.labels)

    @property
    def pool_rows(self) -> "pd.DataFrame":
        """The test rows of the pool, which the figure's `needs` must name; without any, all."""
        assert self.pool is not None
        test = self.pool["split"] == "test"
        return self.pool[test] if test.any() else self.pool

    def variant(self, policy: str) -> str:
        """Name of a policy within its family, saying where its palette was adjusted."""
        name = self.policies.get(policy)
        return variant_of(policy) + (self.adjusted(name) if name else "")

    def adjusted(self, palette: str) -> str:
        """` (adjusted to 64 %)` of a palette that was, to follow its name; empty for others."""
        known = self.palettes.get(palette)
        return f" ({known.adjusted})" if known and known.adjusted else ""

    def caption(self, finding: str) -> str:
        """What a figure shows, which policies it lacks, and which of its palettes were adjusted.

        A figure of policies shows the palettes that they realise, one of palettes shows all.
        """
        of_policies = bool(self.levels or self.winrates)
        shown = self.policies.values() if of_policies else self.palettes
        moved = [
            name + self.adjusted(name)
            for name in self.palettes
            if name in shown and self.adjusted(name)
        ]
        note = (
            "No policy reaches what these palettes ask, so that they go only part of the way from "
            f"the base levels: {', '.join(moved)}."
        )
        # A minus as the figures have it; a hyphen within a name stays.
        finding = re.sub(r"(?<!\S)-(?=\d)", "−", finding)
        return " ".join(filter(None, (finding, self.left_out, note if moved else "")))

    def of(self, family: str) -> list[str]:
        """Policies of a family, in order."""
        return [name for name in self.policies if family_of(name) == family]

    def raises_one(self, policy: str) -> bool:
        """Whether a policy realises a palette that raises a single value."""
        palette = self.policies[policy]
        return palette is not None and len(self.palettes[palette].raised) == 1

    def axis(self, value: str) -> str:
        """Label of a value's axis, with its unit."""
        unit = self.units.get(value)
        return f"{self.labels[value]} ({unit})" if unit else self.labels[value]


def family_of(policy: str) -> str:
    """`dpo` of `dpo/beta-0.1`."""
    return Policy.parse(policy).family


def variant_of(policy: str) -> str:
    """`beta-0.1` of `dpo/beta-0.1`."""
    return Policy.parse(policy).variant


def shortened(name: str, letters: int) -> str:
    """A name that has at most so many letters, its end cut off."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def shown_of(shown: int, every: Sequence[str], what: str = "values") -> str:
    """Sentence on a figure that leaves something out; nothing if it shows all."""
    return f"{shown} of {len(every)} {what} shown." if shown < len(every) else ""


def interval(table: "pd.DataFrame", value: str, centre: str) -> list[float]:
    """A number of a value with its 95 % interval: [centre, low, high]."""
    return [float(table[column][value]) for column in (centre, "low", "high")]


def load(
    *,
    labels: Iterable[tuple[str, str]],
    units: Mapping[str, str],
    policies: Iterable[tuple[str, str | None]],
    inputs: Mapping[str, Sequence[Path]],
    policy: str | None = None,
    **settings: Any,
) -> FigureData:
    """Read the tables that a figure needs.

    Args:
        labels: pairs of a value and its name on axes, in order.
        units: value → its unit, maybe empty.
        policies: pairs of a policy and its palette or None, in order.
        inputs: the files of each table that the figure's `needs` names.
        policy: the policy that a figure of one policy is of.
        settings: further attributes of `FigureData`, those that the figure's `shows` names.

    Raises:
        InputError: if a file cannot be read, or is of a policy that is not among `policies`.
    """
    from polyalign.data.tables import read_by_policy, read_table

    known = dict(policies)
    shared = ("levels", "winrate", "rewards", "pool", "palettes", "training", "jobs")
    rewards = read_by_policy(inputs.get("rewards", ()), known)
    pool = [read_table(path) for path in inputs.get("pool", ())]
    graphs = [read_graph(path) for path in inputs.get("jobs", ())]
    data = FigureData(
        labels=dict(labels),
        units=units,
        policies=known,
        levels=_by_value(read_by_policy(inputs.get("levels", ()), known)),
        winrates=_by_value(read_by_policy(inputs.get("winrate", ()), known)),
        rewards={name: frame[frame["split"] == "test"] for name, frame in rewards.items()},
        pool=pool[0] if pool else None,
        palettes=read_palettes(inputs.get("palettes", ())),
        training={model_of(path).name: read_metrics(path) for path in inputs.get("training", ())},
        jobs=[edge for _, edges in graphs for edge in edges],
        rules=dict(graphs[0][0]) if graphs else {},
        tables={
            name: read_table(path)
            for name, paths in inputs.items()
            if name not in shared
            for path in paths
        },
        policy=policy,
        **settings,
    )
    return _over_seeds(data) if "seeds" in data.tables else data


def _over_seeds(data: FigureData) -> FigureData:
    """The data with one policy for all the seeds that it is trained with."""
    from polyalign.evaluate.seeds import over_seeds

    table = data.tables["seeds"]
    groups = [str(names).split() for names in table["policies"].unique()]
    others = {name for _, *more in groups for name in more}
    return replace(
        data,
        levels=over_seeds(data.levels, table),
        policies={name: of for name, of in data.policies.items() if name not in others},
        seeds={group[0]: len(group) for group in groups},
    )


def read_metrics(path: Path) -> "pd.DataFrame":
    """Metrics of a training by step; NaN where a trainer logged nothing, an empty field there.

    Raises:
        InputError: if the file cannot be read or has no rows.
    """
    import pandas as pd

    from polyalign.data.tables import read_table

    return read_table(path).apply(pd.to_numeric, errors="coerce")


def read_graph(path: Path) -> tuple[Counter[str], list[tuple[str, str]]]:
    """The graph of jobs that Snakemake prints in Graphviz' language.

    Returns:
        Rule → the number of its jobs; and the pairs of rules that hand something on, each once.

    Raises:
        InputError: if the file holds no such graph.
    """
    text = path.read_text(encoding="utf-8")
    names = dict(re.findall(r'^\s*(\d+)\s*\[\s*label\s*=\s*"(\w+)', text, re.MULTILINE))
    edges = re.findall(r"^\s*(\d+)\s*->\s*(\d+)", text, re.MULTILINE)
    if not names:
        raise InputError(
            f"{path}: holds no graph of jobs; expected what `snakemake --dag dot` prints: "
            "delete it and let its stage make it again"
        )
    pairs = dict.fromkeys((names[start], names[end]) for start, end in edges)
    return Counter(names.values()), list(pairs)


def _by_value(tables: Mapping[str, "pd.DataFrame"]) -> dict[str, "pd.DataFrame"]:
    return {name: table.set_index("value") for name, table in tables.items()}
