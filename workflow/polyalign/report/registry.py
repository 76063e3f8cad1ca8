"""Every table of the report: its title and what makes it. A new table is one entry here, and its
caption in workflow/report/<name>.rst.

The plan reads the entries before any job runs, so this module imports neither pandas nor what makes
a table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        title: what its page and the report call it.
        maker: `module:function` that makes it. For a table of the rule `tables` the function gets
            the study's numbers (`polyalign.report.tables.StudyTables`); a rule with one table calls
            its maker itself.
        printed: whether a paper prints it, so that it is a Markdown and a LaTeX table as well. The
            maker returns a `Printed`; else a data frame, which is a page and a CSV file alone.
        rule: the rule that makes it.
    """

    title: str
    maker: str
    printed: bool = True
    rule: str = "tables"

    @property
    def module(self) -> str:
        """The module that makes the table."""
        return self.maker.partition(":")[0]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Endings of its files."""
        return ("html", "csv", "md", "tex") if self.printed else ("html", "csv")

    def make(self, *numbers: Any, **options: Any) -> Any:
        """The table; this imports what makes it."""
        module, _, name = self.maker.partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function(*numbers, **options)


TABLES = {
    "delivery": Table("asked and delivered", "polyalign.report.tables:delivery"),
    "winrates": Table("win rates", "polyalign.report.tables:winrates"),
    "levels": Table("levels", "polyalign.report.tables:levels"),
    "lambda": Table("λ of the palettes", "polyalign.report.tables:lam"),
    "quantiles": Table(
        "levels that quantile palettes ask for", "polyalign.report.tables:base_quantiles"
    ),
    "realised_quantiles": Table(
        "realised levels as quantiles of the base model",
        "polyalign.report.tables:realised_quantiles",
    ),
    "families": Table("families of policies", "polyalign.report.tables:families", rule="families"),
    "summary": Table("summary of all policies", "polyalign.report.tables:summary", printed=False),
    "mixing": Table(
        "soups against the mean of their parts",
        "polyalign.evaluate.linearity:defects",
        printed=False,
        rule="mixing",
    ),
}
"""Name of a table, that of its files → what it is, in the report's order."""


def output(name: str, kind: str) -> str:
    """Name of the output of the rule `tables` that is a table's file of this kind."""
    return name if kind == "csv" and not TABLES[name].printed else f"{name}_{kind}"
