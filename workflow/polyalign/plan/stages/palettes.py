"""The stages of palettes: λ, its diagnostics, and the choice among candidates."""

from polyalign.families import POOL
from polyalign.plan import left_out
from polyalign.plan.stages.shared import (
    family_module,
    limits,
    palette_of,
    paths,
    pick,
    policy_named,
    pool,
)
from polyalign.plan.stages.stage import STAGES, Inputs, Settings, Stage, Wildcards
from polyalign.study import Study


def _solve_settings(study: Study, wildcards: Wildcards) -> Settings:
    """What λ depends on.

    What is done without a solution changes no palette that has one. So a palette that was solved as
    it is keeps the setting that it was solved with.
    """
    palette = wildcards["palette"]
    now = if_infeasible(study, palette)
    found = left_out.read_lam(paths(study).lam(palette))
    as_asked = not left_out.without_solution(found) and found.get("reached") == 1
    return {
        "palette": palette,
        "levels": study.palettes[palette],
        **_drawing(study, palette),
        **pick(study.map, "scope"),
        "if_infeasible": found.get("if_infeasible", now) if as_asked else now,
    }


def _drawing(study: Study, palette: str) -> Settings:
    """What a random palette depends on besides the pool; nothing for any other."""
    if palette in study.configured:
        return {}
    return {"drawn": {"seed": study.seed, "limits": limits(study)}}


def if_infeasible(study: Study, palette: str) -> Settings:
    """What is done if a palette has no solution, and what counts as supported if it is adjusted."""
    chosen = study.on_infeasible(palette)
    return {"on_infeasible": chosen} | ({"limits": limits(study)} if chosen == "adjust" else {})


def _solve_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return pool(study, list(study.palettes[wildcards["palette"]]))


def _diagnose_settings(study: Study, wildcards: Wildcards) -> Settings:
    return {"limits": limits(study), "resamples": study.map.resamples, "seed": study.seed}


def _diagnose_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {**_solve_inputs(study, wildcards), "lam": paths(study).lam(wildcards["palette"])}


def _decode_settings(study: Study, wildcards: Wildcards) -> Settings:
    policy = policy_named(study, wildcards)
    return {
        "family": policy.family,
        "policy": policy.name,
        "seed": study.seed,
        "settings": policy.settings,
    }


def _decode_inputs(study: Study, wildcards: Wildcards) -> Inputs:
    return {
        "pool": paths(study).rewards(POOL),
        **palette_of(study, policy_named(study, wildcards)),
    }


STAGES.update(
    {
        "solve": Stage("solve", _solve_settings, _solve_inputs),
        "diagnose": Stage("diagnose", _diagnose_settings, _diagnose_inputs),
        "decode": Stage("decode", _decode_settings, _decode_inputs, modules=family_module),
    }
)
