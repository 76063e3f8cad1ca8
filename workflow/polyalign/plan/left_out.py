"""What a study goes on without: policies of palettes that no policy reaches, and what failed.

Snakemake plans before λ is known. So all jobs are planned as if every palette could be reached. The
rule `solve` is a checkpoint: when λ of a palette is there, Snakemake asks again for the inputs of
the jobs that wait for it. If the palette has no solution, those that compare policies then wait for
the others alone, and jobs that nothing needs any more are dropped.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyalign import plots
from polyalign.families import BASE, POOL, Policy
from polyalign.paths import Paths
from polyalign.plan import shown
from polyalign.study import Study

FAILED = "POLYALIGN_FAILED"
"""Environment variable: a file with what failed (`Failed`), which `polyalign run` sets when it
makes a report of the rest."""


@dataclass(frozen=True)
class Failed:
    """What failed in a run, so that its report is made without it.

    Attributes:
        policies: policy → the log of its failed job.
        figures: figure → the log of the failed job.
        tables: table that figures alone are drawn from → the log of the failed job.
    """

    policies: dict[str, str] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """What is missing, one sentence each."""
        named = {"policy": self.policies, "figure": self.figures, "table": self.tables}
        return [
            f"The {what} {name} is missing, since its job failed; its log is {log}."
            for what, logs in named.items()
            for name, log in logs.items()
        ]


def read_failed(path: str | None) -> Failed:
    """What the file that `FAILED` names holds; nothing without one."""
    return Failed(**json.loads(Path(path).read_text(encoding="utf-8"))) if path else Failed()


def dispensable(study: Study) -> list[str]:
    """The palettes that the study goes on without if they have no solution, in its order."""
    return [name for name in study.palettes if study.on_infeasible(name) == "report"]


def read_lam(path: str | Path) -> dict[str, Any]:
    """The λ that was solved, as far as there is any: a broken file is for its jobs to report."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def without_solution(lam: Mapping[str, Any]) -> str:
    """The verdict of a palette that has no solution; empty for any other."""
    return "" if lam.get("status", "solved") == "solved" else str(lam["verdict"])


def unsolved_so_far(study: Study) -> dict[str, str]:
    """Palette without a solution → its verdict, by the files that there are."""
    found = {name: read_lam(Paths(study.study).lam(name)) for name in dispensable(study)}
    return {
        name: without_solution(lam)
        for name, lam in found.items()
        # A palette whose levels were changed since is still to be solved.
        if without_solution(lam) and lam.get("levels") == study.palettes[name]
    }


def kept(study: Study, unsolved: Mapping[str, str], failed: Failed) -> Study:
    """The study without the policies and figures that cannot be made.

    Args:
        study: the whole study.
        unsolved: palette without a solution → its verdict.
        failed: what failed.
    """
    left_out: dict[str, str] = {}
    for policy in study.all_policies.values():
        if why := _reason(study, policy, unsolved, failed):
            left_out[policy.name] = why
    rest = study.without(left_out, ())
    lost = [name for name in study.plots if _is_lost(name, study, rest, unsolved, failed)]
    return study.without(left_out, lost)


def _reason(study: Study, policy: Policy, unsolved: Mapping[str, str], failed: Failed) -> str:
    """Why a policy cannot be made; empty if it can."""
    if policy.palette and policy.palette in unsolved:
        return f"palette {policy.palette} is {unsolved[policy.palette]}"
    if policy.name in failed.policies:
        return f"its job failed, see {failed.policies[policy.name]}"
    parts = (study.all_policies[part] for part in policy.models)
    return next(
        (f"made from {part.name}" for part in parts if _reason(study, part, unsolved, failed)), ""
    )


def _is_lost(
    figure: str, study: Study, rest: Study, unsolved: Mapping[str, str], failed: Failed
) -> bool:
    """Whether a figure cannot be drawn of what is left."""
    spec, _, of = plots.figure(figure), *figure.partition("/")[1:]
    if figure in failed.figures or of in rest.left_out or set(spec.needs) & set(failed.tables):
        return True
    if spec.palettes == "solved":
        return bool(study.palettes) and not set(study.palettes) - set(unsolved)
    realised = [
        any(policy.palette for policy in one.all_policies.values()) for one in (study, rest)
    ]
    if spec.palettes == "realised":
        return realised == [True, False]
    tables = [shown.figure_tables(one, one.evaluated) for one in (study, rest)]
    return any(tables[0][name]() and not tables[1][name]() for name in spec.needs)


def verdict_files(study: Study, *, of_policies: bool) -> list[str]:
    """The files that say which palettes have a solution: of all, or of those that policies need."""
    policies = study.all_policies.values() if of_policies else ()
    needed = set[str]().union(*(study.palettes_behind(policy) for policy in policies))
    return [
        Paths(study.study).lam(palette)
        for palette in study.palettes
        if palette in needed or not of_policies
    ]


def lost(study: Study, failed: Failed) -> bool:
    """Whether what everything is compared with failed, so that there is nothing to report."""
    compared = {BASE.name, POOL.name, study.evaluation.opponent}
    return bool(compared & {*failed.policies, *kept(study, {}, failed).left_out})
