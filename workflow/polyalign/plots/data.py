"""What figures are drawn from: the study's small tables, read once, by policy and value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.evaluate.csv import read_by_policy
from polyalign.evaluate.palettes import Palette, read_palettes

if TYPE_CHECKING:
    import pandas as pd

BASE = "base/base"


@dataclass(frozen=True)
class FigureData:
    """A study's tables; a table that a figure does not need is empty.

    Attributes:
        labels: value → its name on axes; gives the values and their order.
        units: value → its unit on axes, maybe empty.
        policies: policy (`family/variant`) → the palette that it realises, or None; in order.
        levels: policy → its levels, indexed by value.
        winrates: policy → its win rates, indexed by value.
        palettes: name → solved palette.
        summary: the study's summary, or None.
    """

    labels: Mapping[str, str]
    units: Mapping[str, str]
    policies: Mapping[str, str | None]
    levels: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    winrates: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    palettes: Mapping[str, Palette] = field(default_factory=dict)
    summary: "pd.DataFrame | None" = None

    @property
    def families(self) -> list[str]:
        """Families of the policies without the base model, in order."""
        return list(dict.fromkeys(family_of(name) for name in self.policies if name != BASE))

    @property
    def raised(self) -> list[str]:
        """The values that some palette raises above the base level; all of them if none does."""
        raised = {value for palette in self.palettes.values() for value in palette.raised}
        return [value for value in self.labels if value in raised] or list(self.labels)

    def of(self, family: str) -> list[str]:
        """Policies of a family, in order."""
        return [name for name in self.policies if family_of(name) == family]

    def axis(self, value: str) -> str:
        """Label of a value's axis, with its unit."""
        unit = self.units.get(value)
        return f"{self.labels[value]} ({unit})" if unit else self.labels[value]


def family_of(policy: str) -> str:
    """`dpo` of `dpo/beta-0.1`."""
    return policy.split("/")[0]


def variant_of(policy: str) -> str:
    """`beta-0.1` of `dpo/beta-0.1`."""
    return policy.split("/")[1]


def interval(table: "pd.DataFrame", value: str, centre: str) -> list[float]:
    """A number of a value with its 95 % interval: [centre, low, high]."""
    return [float(table[column][value]) for column in (centre, "low", "high")]


def load(
    *,
    labels: Mapping[str, str],
    units: Mapping[str, str],
    policies: Mapping[str, str | None],
    levels: Iterable[Path] = (),
    winrate: Iterable[Path] = (),
    palettes: Iterable[Path] = (),
    summary: Iterable[Path] = (),
) -> FigureData:
    """Read the tables that a figure needs.

    Args:
        labels: value → its name on axes, in order.
        units: value → its unit, maybe empty.
        policies: policy → its palette or None, in order.
        levels: files `…/{family}/{variant}/levels.csv`.
        winrate: files `…/{family}/{variant}/winrate.csv`.
        palettes: files of solved palettes.
        summary: the study's summary, none or one file.

    Raises:
        InputError: if a file cannot be read, or is of a policy that is not among `policies`.
    """
    from polyalign.tables import read_table

    overall = [read_table(path) for path in summary]
    return FigureData(
        labels=labels,
        units=units,
        policies=policies,
        levels=_by_value(read_by_policy(levels, policies)),
        winrates=_by_value(read_by_policy(winrate, policies)),
        palettes=read_palettes(palettes),
        summary=overall[0] if overall else None,
    )


def _by_value(tables: Mapping[str, "pd.DataFrame"]) -> dict[str, "pd.DataFrame"]:
    return {name: table.set_index("value") for name, table in tables.items()}
