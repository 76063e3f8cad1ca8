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
        caption: what it shows, for its page and the report; `{prompts}`, `{opponent}`, `{pairs}`
            and `{slack}` stand for those of the study, `{seeds}` for what is said where policies
            have several seeds.
        printed: whether a paper prints it, so that it is a Markdown and a LaTeX table as well. The
            maker returns a `Printed`; else a data frame, which is a page and a CSV file alone.
        rule: the rule that makes it.
    """

    title: str
    maker: str
    caption: str = ""
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
    "delivery": Table(
        "asked and delivered",
        "polyalign.report.tables:delivery",
        "What was asked and what was delivered, on {prompts}: one row per palette and policy that "
        "realises it. A cell has the realised gain over the base model's level ± half of its 95 % "
        "interval, clustered by prompt, in standard deviations of the base model's rewards; for a "
        "raised value then the asked gain, and for a policy that is trained or guided the gain "
        "that its λ gives once the policy is p_λ (estimated on the base model's candidates; the "
        "CSV has its interval). Reached is a level at or above the asked one, missed "
        "one whose whole interval is below, undecided one between the two. Levels of policies "
        "that choose among candidates are exact expectations over them. The KL behind ≤ is the "
        "upper bound that such a choice has; any other is measured on samples.{seeds}",
    ),
    "winrates": Table(
        "win rates",
        "polyalign.report.tables:winrates",
        "Win rates against {opponent} in per cent: P(win) + ½ P(tie) over all pairs of answers to "
        "the same test prompt. All {prompts} have the same weight. 50 is as good as {opponent}. "
        "Standard errors and 95 % intervals are clustered by prompt. Behind the bar is the win "
        "rate at equal length: what is left of it when length has no effect. Win rates of "
        "policies that choose among candidates are exact expectations over them.{seeds}",
    ),
    "judge": Table(
        "win rates by a judge",
        "polyalign.report.judged:judge",
        "Win rates against {opponent} in per cent by a language model as judge, on one pair of "
        "answers to each of up to {pairs} of {prompts}: P(win) + ½ P(tie) ± standard error. The "
        "judge sees each pair in both orders; a pair counts as won only if it is won in both, and "
        "where the two votes differ it is a tie. `Orders differ` is the share of such pairs, and "
        "`Shown first` the share of votes for an answer that are for the one shown first: far from "
        "50, the place of an answer decides and not the answer. Each value then has the win rate "
        "of its rewards on the same pairs, and behind the bar the share of pairs on which judge "
        "and reward prefer the same answer, with Wilson's 95 % interval, of the number of pairs "
        "that both decide; and Cohen's κ, the agreement beyond chance (0: none, 1: full), with "
        "its 95 % bootstrap interval.",
        rule="judged",
    ),
    "levels": Table(
        "levels",
        "polyalign.report.tables:levels",
        "Levels: mean rewards on {prompts} with their standard errors, clustered by prompt. The "
        "CSV also has 95 % bootstrap intervals, and the quantile of each level among the base "
        "model's rewards.{seeds}",
    ),
    "lambda": Table(
        "λ of the palettes",
        "polyalign.report.tables:lam",
        "The weights λ that solve each palette, its verdict, the KL divergence of the solution "
        "from the base model in nats, and its effective sample size. Where no policy reaches what "
        "a palette asks, the verdict says how far the solution goes from the base levels to the "
        "asked ones. A dash means that the palette leaves the value free. Behind the bar are λ for "
        "training, which is not limited to so few candidates, and the KL of p_λ there. The CSV "
        "also has the levels that perfect training would deliver with it, and all intervals.",
    ),
    "quantiles": Table(
        "levels that quantile palettes ask for",
        "polyalign.report.tables:base_quantiles",
        "What a quantile palette asks for: the quantiles of the base model's rewards on {prompts}. "
        "The first rows show them for all values, the others show the mean of the values that no "
        "palette raises.",
    ),
    "realised_quantiles": Table(
        "realised levels as quantiles of the base model",
        "polyalign.report.tables:realised_quantiles",
        "Realised levels as quantiles of the base model's rewards: the share of these rewards that "
        "is below the policy's mean on {prompts}, in per cent; ties count half. Values that are "
        "only maintained have the policy's mean beside it. A dash: at least 4 of 10 rewards of the "
        "base model are one number, of which no share says anything.",
    ),
    "families": Table(
        "families of policies",
        "polyalign.report.tables:families",
        "Families as wholes, on {prompts}. Navigable is a policy that is at least as good as "
        "{opponent} in all chosen values, up to the slack of {slack}: its win rates are at least ½ "
        "minus the slack. By levels it is one whose levels are below the base levels by no more "
        "than the slack, in standard deviations of the base model's rewards. Brackets show "
        "Wilson's 95 % interval of the share of such policies in the family, which takes the "
        "policies as a random sample; the CSV also has the interval over test prompts (`low`, "
        "`high`). The hypervolume is between the reference point and the levels of the family's "
        "front, which is chosen on one half of the prompts and measured on the other half. Shown "
        "is the side of a cube of the same volume, in the units of `evaluation.hypervolume`: "
        "without these, standard deviations of the base model's rewards. Its interval is over "
        "test prompts.",
        rule="families",
    ),
    "summary": Table(
        "summary of all policies",
        "polyalign.report.tables:summary",
        "All policies on {prompts}, by topic: levels; the asked and the realised gain in standard "
        "deviations (sd) of the base model's rewards, and whether it is reached, undecided or "
        "missed; the share of the asked gain (a dash where the gain is within two standard errors "
        "of the base level, or the interval is wider than the gain); win rates against {opponent} "
        "with their 95 % intervals, also at equal length; λ; and costs. p is that of being better "
        "in all chosen values, adjusted for the number of policies by Holm's method. The KL is "
        "measured on samples, or the upper bound of a choice among candidates. The CSV has "
        "everything in one row per policy.",
        printed=False,
    ),
    "seeds": Table(
        "policies with several seeds",
        "polyalign.evaluate.seeds:seeds",
        "Policies that are trained with several seeds, on {prompts}: the mean over seeds of every "
        "level, of every win rate against {opponent} and of the KL (nats). `sd` is the standard "
        "deviation over seeds of these numbers as measured; `sd_training` is without what the "
        "answers that happened to be drawn add to it. `se_prompts` is the standard error for these "
        "seeds and other prompts, `se_seeds` for these prompts and other seeds, and `se` for both, "
        "with a 95 % interval that widens where few seeds decide.",
        printed=False,
        rule="seeds",
    ),
    "mixing": Table(
        "soups against the mean of their parts",
        "polyalign.evaluate.linearity:defects",
        "Averaged parameters against averaged levels, on {prompts}. The mean of the parts is that "
        "of the levels of the models that a soup is made of, weighted as the soup weights them; "
        "the CSV calls it `linear`. The difference (`defect`) is the soup's own level minus this "
        "mean, with a 95 % bootstrap interval over prompts. It is 0 for a soup that only "
        "interpolates.",
        printed=False,
        rule="mixing",
    ),
}
"""Name of a table, that of its files → what it is, in the report's order."""


def output(name: str, kind: str) -> str:
    """Name of the output of the rule `tables` that is a table's file of this kind."""
    return name if kind == "csv" and not TABLES[name].printed else f"{name}_{kind}"
