"""Which of the jobs that may start does start: λ first, then what takes longest.

A palette that cannot be reached shows as early as possible. Trainings start by their length, since
a long one that starts last leaves the other cores idle.
"""

from collections.abc import Mapping

from polyalign.families import POOL
from polyalign.plan.stages import STAGES, paths
from polyalign.plan.stages.shared import reward_models
from polyalign.study import Study

STEP = 10**6
"""Lies above the seconds of any training."""

BEFORE_ALL = ("world", "base_model", "prompts", "import_rewards")
"""Stages that every other job waits for."""


def priority(study: Study, stage: str, wildcards: Mapping[str, str]) -> int:
    """Priority of a job; of two jobs that may start, the one with the higher priority does.

    Args:
        study: the study.
        stage: its stage.
        wildcards: its wildcards, with `family` for a rule of one family.
    """
    if stage in BEFORE_ALL:
        return 4 * STEP
    if stage == "reward_model":
        manifest = f"{paths(study).results}/models/reward/{wildcards['variant']}.json"
        return 3 * STEP if manifest in reward_models(study, study.explored) else 0
    of_pool = (wildcards.get("family"), wildcards.get("variant")) == (POOL.family, POOL.variant)
    weighed = "value" not in wildcards or wildcards["value"] in study.explored
    if stage == "solve" or (of_pool and weighed):
        return 2 * STEP
    need = (
        STAGES[stage].need(study, wildcards)
        if stage in ("train", "value_model", "steer", "generate_guided")
        else None
    )
    return min(round(need.seconds), STEP) if need else 0
