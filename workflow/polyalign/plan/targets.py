"""Targets that a study does not have: one sentence each, before Snakemake looks for them.

Snakemake itself would say `MissingRuleException`, or plan a policy that the config does not have.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from polyalign import plots
from polyalign.errors import nearest
from polyalign.families import BASE, POOL, VALUE, Policy
from polyalign.paths import Paths
from polyalign.plan import shown
from polyalign.report.registry import TABLES
from polyalign.study import Study

ENDINGS = ("json", "csv", "pdf", "png", "txt")
"""Endings of files that are named after a policy; a policy's own name may have dots too."""


def unknown_targets(
    study: Study,
    configs: Sequence[str],
    targets: Sequence[str],
    rules: Collection[str],
    makes: Callable[[str], bool],
) -> list[str]:
    """What is wrong with each target that the study does not have, and what to type instead.

    Args:
        study: the study that was read.
        configs: the files that it was read from.
        targets: rules or files.
        rules: names of the rules that can be targets.
        makes: whether the pattern of some rule's output fits a path.
    """
    read = f"the study that was read is {study.study!r} ({', '.join(configs)})"
    found = []
    for target in targets:
        if target in rules:
            continue
        mend = _fault(study, target, rules, makes)
        if mend:
            found.append(f"no target {target!r}: {read}; {mend}")
    return found


def _fault(
    study: Study, target: str, rules: Collection[str], makes: Callable[[str], bool]
) -> str | None:
    """What to type instead of a target that is no rule; None if it is a file that can be made."""
    home = f"{Paths(study.study).results}/"
    if target.endswith((".yaml", ".yml")):
        return (
            "expected a rule or a file to make; a config comes last: "
            f"`snakemake --cores 2 TARGET --configfile {target}`, or `polyalign run {target}`"
        )
    if target.startswith("results/") and not target.startswith(home):
        other = target.split("/")[1]
        return (
            f"expected a file below {home}; for one of {other!r} name its config, after the "
            f"target: `snakemake --cores 2 {target} --configfile FILE`"
        )
    if target.startswith(home):
        known = set(known_files(study))
        foreign = _names_a_stranger(study, target.removeprefix(home))
        if target in known or (makes(target) and not foreign):
            return None
        near = get_close_matches(
            target.removeprefix(home), [path.removeprefix(home) for path in known], 1, cutoff=0.75
        )
        what = foreign or "expected a file that a rule makes"
        return f"{what}; write {home + near[0]!r}" if near else f"{what}; correct the path"
    if makes(target) or Path(target).exists():
        return None
    usual = sorted({"all", "models", "palettes", "winrates", "plots", "report"} & set(rules))
    return (
        f"expected {', '.join(usual)}, or a file below {home} (`snakemake --list` names all); "
        f"{nearest(target, rules)}"
    )


def _names_a_stranger(study: Study, path: str) -> str | None:
    """The policy or palette in a path below the study's folder that the config does not have."""
    room, *parts = path.split("/")
    policies = {BASE.name, POOL.name, *study.all_policies}
    models = {policy.name for policy in _models(study)}
    if room in ("models", "policies", "plots") and len(parts) >= (3 if room == "plots" else 2):
        family, variant = parts[1:3] if room == "plots" else parts[:2]
        known = models if room == "models" else policies
        name = re.sub(rf"\.({'|'.join(ENDINGS)})$", "", f"{family}/{variant}")
        if name not in known:
            what = "model" if room == "models" else "policy"
            return f"the config has no {what} {name!r} (it has {', '.join(sorted(known))})"
    palette = parts[-1].rpartition(".")[0] if room == "palettes" and parts else None
    if palette is not None and palette not in study.palettes:
        return f"the config has no palette {palette!r} (it has {', '.join(study.palettes)})"
    return None


def known_files(study: Study) -> Iterator[str]:
    """Files and folders that a person may ask for by name."""
    paths = Paths(study.study)
    yield from map(paths.file, ("prompts.parquet", "config.json", "overview.html", "report.html"))
    for name in plots.names():
        shown_of = [""]
        if plots.figure(name).of_a_policy:
            shown_of += [f"/{policy.name}" for policy in study.evaluated]
        yield from (
            paths.plot(f"{name}{of}", kind) for of in shown_of for kind in ("pdf", "png", "txt")
        )
    for name in shown.tables(study):
        yield from (paths.table(name, kind) for kind in TABLES[name].kinds)
    for palette in study.palettes:
        yield paths.palette(palette)
        yield paths.lam(palette)
    for policy in study.evaluated:
        yield from (paths.rewards(policy), paths.levels(policy), paths.winrate(policy))
    yield from map(paths.steered, study.steered)
    for model in _models(study):
        yield from (paths.model(model), paths.manifest(model), paths.metrics(model))


def _models(study: Study) -> list[Policy]:
    """The models that the study makes."""
    rewards = [Policy("reward", name) for name in study.reward_models]
    learnt = [VALUE] if study.value_training else []
    return [*([BASE] if study.sandbox else []), *rewards, *learnt, *study.of_kind("train")]
