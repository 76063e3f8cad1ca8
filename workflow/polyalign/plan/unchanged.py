"""What Snakemake compares of a job's settings: those that can change its result, and no others.

A job is told all its settings (`stages.settings_text`). Devices and batch sizes of values are not
compared, nor where a training reports to and when it writes checkpoints. And where the file that is
there shows that other settings would make the same file, those that it was made with are compared:
a limit above the number of prompts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from polyalign.plan.recorded import read_record
from polyalign.plan.stages import STAGES, paths
from polyalign.plan.stages.stage import Settings, Wildcards
from polyalign.runtime.code import canonical
from polyalign.study import Study


def compared_text(study: Study, stage: str, wildcards: Wildcards) -> str:
    """The settings of a job that Snakemake compares, as canonical JSON."""
    settings = STAGES[stage].settings(study.as_compared, wildcards)
    text = canonical(settings)
    if stage not in SAME:
        return text
    output, same = SAME[stage]
    path = output(study, wildcards)
    record = read_record(path)
    if record is None or (record.settings == text and text in record.command):
        return text
    told = record.told
    if canonical(told) == text or same(Path(path), told, settings):
        return record.settings
    # A job that ran again may have been told others than those that were compared.
    return text if text != record.settings else f"{text} "


def _same_prompts(path: Path, before: Settings, now: Settings) -> bool:
    """Whether neither limit cuts any prompts off."""
    if not _equal_but(before, now, "limit"):
        return False
    prompts = pq.read_metadata(path).num_rows
    old, new = before["limit"], now["limit"]
    return (old is None or prompts < old) and (new is None or prompts <= new)


def _equal_but(one: Settings, two: Settings, *keys: str) -> bool:
    def rest(settings: Settings) -> dict[str, Any]:
        return {key: value for key, value in settings.items() if key not in keys}

    return rest(one) == rest(two)


SAME: dict[
    str,
    tuple[Callable[[Study, Wildcards], str], Callable[[Path, Settings, Settings], bool]],
] = {
    "prompts": (lambda study, wildcards: paths(study).file("prompts.parquet"), _same_prompts),
}
"""Stage → its file, and whether a job with other settings than it was made with makes the same."""
