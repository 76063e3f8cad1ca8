"""What each rule is told, waits for and runs: functions of the study and the job's wildcards.

A `Stage` belongs to one rule, or to one rule per family (`train_rloo`, `train_ppo`); the wildcards
then have the key `family` as well. Settings are JSON-ready; a job gets them as one canonical text,
so Snakemake sees every change, also two numbers that changed places. Nothing here depends on
Snakemake, and no job imports it.
"""

from polyalign.plan.stages import answers, models, palettes, results
from polyalign.plan.stages.palettes import if_infeasible
from polyalign.plan.stages.results import SWEEPS
from polyalign.plan.stages.shared import paths, shards, trained_models
from polyalign.plan.stages.stage import (
    STAGES,
    Exists,
    code_text,
    rule_name,
    rules_of,
    settings_text,
)

__all__ = [
    "STAGES",
    "SWEEPS",
    "Exists",
    "answers",
    "code_text",
    "if_infeasible",
    "models",
    "palettes",
    "paths",
    "results",
    "rule_name",
    "rules_of",
    "settings_text",
    "shards",
    "trained_models",
]
