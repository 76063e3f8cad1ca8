"""The stages that compare policies: levels, win rates, tables, sweeps, figures and the report."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import chain

from polyalign import plots
from polyalign.families import BASE, POOL, Policy, family
from polyalign.plan import shown
from polyalign.plan.stages.shared import limits, paths, pick, policy_named, pool
from polyalign.plan.stages.stage import STAGES, Inputs, Settings, Stage, Wildcards, nothing
from polyalign.report.registry import TABLES
from polyalign.study import Study


def _measured(study: Study, wildcards: Wildcards) -> Settings:
    return {
        "values": list(study.values),
        "bootstrap": study.evaluation.bootstrap,
        "seed": study.seed,
    }


def _levels_settings(study: Study, wildcards: Wildcards) -> Settings:
    longest = None if study.rewards else study.sampling.max_new_tokens
    return {**_measured(study, wildcards), "max_new_tokens": longest}


def _levels_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    own = paths(study).rewards(policy_named(study, wildcards))
    return {"rewards": own, "base": paths(study).rewards(BASE)}


def _winrate_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    opponent = Policy.parse(study.evaluation.opponent)
    own = policy_named(study, wildcards)
    inputs: Inputs = {"rewards": paths(study).rewards(own)}
    inputs["opponent"] = paths(study).rewards(opponent)
    return inputs | _candidates(study, {own.name, opponent.name})


def _candidates(study: Study, policies: Collection[str]) -> Inputs:
    """The pool, if one of the policies chooses among it: such a one is judged by all candidates."""
    choosing = {policy.name for policy in study.of_kind("select")}
    return {"pool": paths(study).rewards(POOL)} if choosing & set(policies) else {}


def _families_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    inputs: Inputs = {"rewards": [paths(study).rewards(policy) for policy in study.distinct]}
    return inputs | _candidates(study, [policy.name for policy in study.distinct])


def _seeds_settings(study: Study, wildcards: Wildcards) -> Settings:
    opponent = study.evaluation.opponent
    return {
        "title": TABLES["seeds"].title,
        "caption": shown.captions(study)["seeds"],
        "groups": list(study.repeated.items()),
        "values": list(study.values),
        "opponent": opponent,
    }


def _seeds_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    opponent = Policy.parse(study.evaluation.opponent)
    own = [paths(study).rewards(Policy.parse(name)) for name in chain(*study.repeated.values())]
    inputs: Inputs = {"rewards": own, "opponent": paths(study).rewards(opponent)}
    return inputs | _candidates(study, [opponent.name])


@dataclass(frozen=True)
class Sweep:
    """A table that figures alone are drawn from, computed from the pool.

    Attributes:
        module: module of polyalign.palettes.sweeps.
        settings: what it is told.
        of_palettes: whether it starts from the solved palettes.
        values: the values whose rewards it reads.
    """

    module: str
    settings: Callable[[Study], Settings]
    of_palettes: bool = False
    values: Callable[[Study], list[str]] = lambda study: study.explored


SWEEPS = {
    "random": Sweep(
        "random_lambda",
        lambda study: {
            "values": study.explored,
            "scope": study.map.scope,
            "draws": study.explore.draws,
            "max_norm": study.explore.max_norm,
            "seed": study.seed,
        },
    ),
    "fronts": Sweep(
        "fronts",
        lambda study: {
            "values": study.explored,
            "traded": study.traded,
            "scope": study.map.scope,
            **pick(study.explore, "budgets", "points"),
        },
        of_palettes=True,
    ),
    "rounds": Sweep(
        "rounds",
        lambda study: {"values": study.explored, **pick(study.explore, "rounds")},
        of_palettes=True,
    ),
    "paths": Sweep(
        "paths",
        lambda study: {**pick(study.explore, "steps", "beyond"), "limits": limits(study)},
        of_palettes=True,
    ),
    "by_number": Sweep(
        "by_number",
        lambda study: {
            "values": study.explored,
            "scope": study.map.scope,
            **pick(study.explore, "draws", "adjusted"),
            "limits": limits(study),
            "seed": study.seed,
        },
    ),
    "duals": Sweep("duals", lambda study: pick(study.explore, "steps"), of_palettes=True),
    "candidates": Sweep(
        "candidates",
        lambda study: {"values": study.explored, **pick(study.explore, "candidates")},
        of_palettes=True,
    ),
    "palette_levels": Sweep(
        "palette_levels",
        lambda study: {"values": study.explored, "scope": study.map.scope},
        of_palettes=True,
    ),
    "replicates": Sweep(
        "replicates",
        lambda study: {
            "replicates": study.evaluation.replicates,
            "resamples": max(study.map.resamples, 2),
            "seed": study.seed,
        },
        of_palettes=True,
        values=lambda study: [
            *study.explored,
            *(name for others in study.evaluation.replicates.values() for name in others),
        ],
    ),
}
"""Name of a sweep's table → what it is."""


def _explore_settings(study: Study, wildcards: Wildcards) -> Settings:
    sweep = SWEEPS[wildcards["name"]]
    return {"kind": sweep.module, "settings": sweep.settings(study)}


def _explore_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    # Figures of the mathematics are of the palettes that somebody asked for.
    asked = [paths(study).palette(name) for name in study.configured]
    sweep = SWEEPS[wildcards["name"]]
    return {**pool(study, sweep.values(study)), "palettes": asked if sweep.of_palettes else []}


def _explore_modules(study: Study, wildcards: Wildcards) -> list[str]:
    return [f"polyalign.palettes.sweeps.{SWEEPS[wildcards['name']].module}"]


def figure_policy(name: str) -> Policy | None:
    """The policy that a figure is of, or None for a figure of the whole study."""
    if not plots.figure(name).of_a_policy:
        return None
    _, _, policy = name.partition("/")
    return Policy.parse(policy) if policy else BASE


def _plot_settings(study: Study, wildcards: Wildcards) -> Settings:
    policy = figure_policy(wildcards["figure"])
    return {
        "figure": wildcards["figure"].partition("/")[0],
        "policy": policy.name if policy else None,
        "shown": shown.figure_settings(study, plots.figure(wildcards["figure"])),
    }


def _plot_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    """Of the policies' files, a figure of one policy waits for its own and the base model's."""
    policy = figure_policy(wildcards["figure"])
    of = [BASE, policy] if policy else study.evaluated
    tables = shown.figure_tables(study, {found.name: found for found in of}.values())
    return {name: tables[name]() for name in plots.figure(wildcards["figure"]).needs}


def _plot_modules(study: Study, wildcards: Wildcards) -> list[str]:
    """The figure's own module, and those of the families, which declare their colours."""
    made = {made.family for made in study.all_policies.values()}
    declared = sorted(family(name).settings.__module__ for name in made)
    return [plots.module(wildcards["figure"]).__name__, *declared]


def _tables_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {
        "levels": [paths(study).levels(policy) for policy in study.evaluated],
        "winrate": [paths(study).winrate(policy) for policy in study.evaluated],
        "palettes": shown.palettes(study),
        # They record the λ that they were made with, and what was expected of it.
        "decoded": [paths(study).rewards(policy) for policy in study.of_kind("select")],
        # λ at the end of a training that moved it.
        "trained": [
            paths(study).manifest(policy) for policy in study.of_kind("train") if policy.palette
        ],
        # The same of guided policies.
        "steered": [paths(study).steered(policy) for policy in study.steered],
        **({"seeds": paths(study).table("seeds")} if study.repeated else {}),
    }


def _families_settings(study: Study, wildcards: Wildcards) -> Settings:
    return {
        "title": TABLES["families"].title,
        "caption": shown.captions(study)["families"],
        "policies": [policy.name for policy in study.distinct],
        "values": study.chosen,
        "opponent": study.evaluation.opponent,
        "slack": study.slack,
        **study.evaluation.hypervolume.model_dump(),
        "bootstrap": study.evaluation.bootstrap,
        "seed": study.seed,
    }


def _judge_settings(study: Study, wildcards: Wildcards) -> Settings:
    judge = study.pair_judge
    return {
        "judge": judge.model_dump() if judge else {},
        "policy": policy_named(study, wildcards).name,
        "opponent": study.evaluation.opponent,
        "seed": study.seed,
    }


def _judge_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    opponent = Policy.parse(study.evaluation.opponent)
    return {
        "rewards": paths(study).rewards(policy_named(study, wildcards)),
        "opponent": paths(study).rewards(opponent),
    }


def _judged_settings(study: Study, wildcards: Wildcards) -> Settings:
    judge = study.evaluation.judge
    return {
        "title": TABLES["judge"].title,
        "caption": shown.captions(study).get("judge", ""),
        "policies": [policy.name for policy in study.judged],
        "labels": list(study.labels.items()),
        "prompts": judge.prompts if judge else 0,
        "bootstrap": study.evaluation.bootstrap,
        "seed": study.seed,
    }


def _judged_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {
        "rewards": [paths(study).rewards(policy) for policy in study.judged],
        "votes": [paths(study).votes(policy) for policy in study.judged],
        "opponent": paths(study).rewards(Policy.parse(study.evaluation.opponent)),
    }


def _rewards_inputs(policies: Callable[[Study], list[Policy]]) -> Callable[..., Inputs]:
    """Input function: the rewards tables of some policies."""
    return lambda study, wildcards: {
        "rewards": [paths(study).rewards(policy) for policy in policies(study)]
    }


def _mixing_settings(study: Study, wildcards: Wildcards) -> Settings:
    return {
        "title": TABLES["mixing"].title,
        "caption": shown.captions(study)["mixing"],
        "policies": [policy.name for policy in shown.mixed(study)],
        "parts": {policy.name: policy.settings["weights"] for policy in shown.soups(study)},
        "labels": list(study.labels.items()),
        **_measured(study, wildcards),
    }


def _makers(rule: str) -> Callable[[Study, Wildcards], list[str]]:
    """Modules function: the modules that make the tables of a rule."""
    modules = {table.module for table in TABLES.values() if table.rule == rule}
    return lambda study, wildcards: sorted(modules)


def _overview_modules(study: Study, wildcards: Wildcards) -> list[str]:
    checks = shown.page_settings(study)["checks"].values()
    return [check.partition(":")[0] for check in checks]


def _overview_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {
        "summary": paths(study).table("summary"),
        "families": paths(study).table("families"),
        "judge": [paths(study).table("judge")] if study.evaluation.judge else [],
        "palettes": shown.palettes(study),
        "manifests": shown.judged_manifests(study),
        "levels": [paths(study).levels(policy) for policy in study.evaluated],
        "pictures": shown.pictures(study),
        "config": paths(study).file("config.json"),
        "rewards": [paths(study).rewards(policy) for policy in study.evaluated],
        "prompts": [] if study.rewards else [paths(study).file("prompts.parquet")],
    }


STAGES.update(
    {
        "levels": Stage("levels", _levels_settings, _levels_inputs),
        "winrate": Stage("winrate", _measured, _winrate_inputs),
        "tables": Stage(
            "tables",
            lambda study, wildcards: shown.table_settings(study),
            _tables_inputs,
            modules=_makers("tables"),
            compares=True,
        ),
        "families": Stage(
            "families",
            _families_settings,
            _families_inputs,
            modules=_makers("families"),
            compares=True,
        ),
        "seeds": Stage(
            "seeds", _seeds_settings, _seeds_inputs, modules=_makers("seeds"), compares=True
        ),
        "judge": Stage("judge", _judge_settings, _judge_inputs),
        "judged": Stage(
            "judged",
            _judged_settings,
            _judged_inputs,
            modules=_makers("judged"),
            compares=True,
        ),
        "mixing": Stage(
            "mixing",
            _mixing_settings,
            _rewards_inputs(shown.mixed),
            modules=_makers("mixing"),
            compares=True,
        ),
        "explore": Stage("explore", _explore_settings, _explore_inputs, modules=_explore_modules),
        "plot": Stage("plot", _plot_settings, _plot_inputs, modules=_plot_modules, compares=True),
        "overview": Stage(
            "overview",
            lambda study, wildcards: shown.page_settings(study),
            _overview_inputs,
            modules=_overview_modules,
            compares=True,
        ),
        # The settings are the config as Snakemake read it.
        "resolved_config": Stage("resolved_config", lambda study, wildcards: {}, nothing),
    }
)
