"""All jobs of a study, as Snakemake plans them for a study of which nothing is made yet."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from polyalign import plots
from polyalign.families import BASE, POOL, Policy
from polyalign.plan import shown
from polyalign.plan.stages import SWEEPS, rule_name, shards
from polyalign.study import Study


def _of(policy: Policy, **more: str) -> dict[str, str]:
    return {"family": policy.family, "variant": policy.variant, **more}


def jobs(study: Study) -> Iterator[tuple[str, dict[str, str]]]:
    """Stage and wildcards of every job of a study."""
    yield from ((stage, {}) for stage in ("tables", "families", "overview"))
    yield from (("explore", {"name": name}) for name in SWEEPS)
    yield from (("plot", {"figure": figure}) for figure in study.plots)
    for palette in study.palettes:
        yield from ((stage, {"palette": palette}) for stage in ("solve", "diagnose"))
    for policy in study.evaluated:
        yield from ((stage, _of(policy)) for stage in ("levels", "winrate"))
    yield from (("decode", _of(policy)) for policy in study.of_kind("select"))
    if study.evaluation.judge:
        yield from (("judge", _of(policy)) for policy in study.judged)
        yield "judged", {}
    if shown.soups(study):
        yield "mixing", {}
    if study.repeated:
        yield "seeds", {}
    if study.sandbox:
        yield from ((stage, {}) for stage in ("world", "base_model"))
    if study.rewards:
        yield "import_rewards", {}
        return
    yield "prompts", {}
    yield from (("reward_model", {"variant": name}) for name in study.reward_models)
    if study.value_training:
        yield "value_model", {}
    yield from (("steer", _of(policy)) for policy in study.steered)
    yield from (("train", _of(policy)) for policy in study.of_kind("train"))
    for policy in [POOL, BASE, *study.of_kind("train"), *study.of_kind("sample")]:
        guided = policy in study.of_kind("sample")
        n = str(shards(study, policy))
        yield "merge", _of(policy)
        for i in map(str, range(int(n))):
            yield "generate_guided" if guided else "generate", _of(policy, i=i, n=n)
            for value in study.values:
                yield "annotate", _of(policy, i=i, n=n, value=value)


def rule_of_job(stage: str, wildcards: dict[str, str]) -> str:
    """The rule of a job."""
    if stage in ("train", "decode", "generate_guided"):
        return rule_name(stage, wildcards["family"])
    return f"explore_{wildcards['name']}" if stage == "explore" else stage


def job_graph_settings(study: Study) -> dict[str, Any]:
    """What decides which jobs a study has, and what they hand to each other."""
    return {
        "jobs": Counter(rule_of_job(*job) for job in jobs(study)),
        "needs": sorted({name for entry in study.plots for name in plots.figure(entry).needs}),
    }
