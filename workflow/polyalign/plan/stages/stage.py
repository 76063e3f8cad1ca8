"""What a stage is, the table of all stages, and the texts that a job's rule has from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polyalign.plan.resources import Need
from polyalign.runtime.code import canonical, code
from polyalign.study import Study

Wildcards = Mapping[str, str]
Settings = dict[str, Any]
Inputs = dict[str, str | list[str]]
"""Name of an input → its path or paths."""


class Exists(str):
    """A file or folder that an input names: it only has to exist, whatever its time of change."""


@dataclass(frozen=True)
class Stage:
    """What a rule's jobs are told, wait for and run.

    Attributes:
        script: name of the script in workflow/scripts/.
        settings: what the script is told.
        inputs: the files that a job waits for, by the name that the script has for them.
        modules: modules of polyalign that the settings choose, which no import statement names.
        values: the values whose rewards a job computes.
        compares: whether a job reads what all policies give. It goes on without those whose palette
            has no solution (polyalign.plan.left_out).
        environment: software of the jobs: `models`, or `light` for those that never load any.
        need: memory, time and GPUs of a job that loads a model; None for a light one.
        libraries: what the jobs import (`polyalign.runtime.job_server.LIBRARIES`).
    """

    script: str
    settings: Callable[[Study, Wildcards], Settings]
    inputs: Callable[[Study, Wildcards], Inputs]
    modules: Callable[[Study, Wildcards], Sequence[str]] = lambda study, wildcards: ()
    values: Callable[[Study, Wildcards], Sequence[str]] = lambda study, wildcards: ()
    compares: bool = False
    environment: Literal["light", "models"] = "light"
    need: Callable[[Study, Wildcards], Need | None] = lambda study, wildcards: None
    libraries: Literal["light", "models", "training"] = "light"


STAGES: dict[str, Stage] = {}
"""Name of a stage → what its jobs are told, wait for and run; each module here adds its own."""


def settings_text(study: Study, stage: str, wildcards: Wildcards) -> str:
    """The settings of a job as canonical JSON."""
    return canonical(STAGES[stage].settings(study, wildcards))


def code_text(study: Study, stage: str, wildcards: Wildcards) -> str:
    """The code that a job runs, with hashes; the user's own rewards included."""
    found = STAGES[stage]
    scored = found.values(study, wildcards)
    kinds = sorted({f"polyalign.rewards.kinds.{study.values[name].kind}" for name in scored})
    own = [study.values[name].user_code() for name in scored]
    chosen = [*found.modules(study, wildcards), *kinds]
    return " ".join([code(found.script, *chosen), *filter(None, own)])


def rules_of(study: Study, stage: str) -> list[str]:
    """The families of a study that have a rule of their own at this stage, sorted."""
    kind = {"train": "train", "decode": "select", "generate_guided": "sample"}[stage]
    return sorted({policy.family for policy in study.of_kind(kind)})


def rule_name(stage: str, name: str) -> str:
    """Name of the rule of one family at a stage."""
    return f"{stage.removesuffix('_guided')}_{name.replace('-', '_')}"


def nothing(study: Study, wildcards: Wildcards) -> Inputs:
    """No inputs."""
    return {}
