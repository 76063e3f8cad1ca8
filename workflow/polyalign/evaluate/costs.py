"""What a policy cost, from the records that jobs leave beside their logs."""

import math
from collections.abc import Iterable
from pathlib import Path

from polyalign.paths import parse_job
from polyalign.runtime.job_record import read_record

OWN = ("train", "steer", "generate", "annotate", "decode")  # stages that work for one policy alone


def read_costs(results: str | Path, policy: str, values: Iterable[str]) -> dict[str, float]:
    """Seconds that the jobs of one policy took: its training, sampling and scoring.

    Shared work (the pool, reward models, the base model) is not attributed to any policy. Records
    are not inputs of any job, so a repeated run, which takes other seconds, reruns nothing.

    Args:
        results: folder of the study, with its `logs`.
        policy: name `family/variant`.
        values: the study's values, which the names of the files hold.

    Returns:
        `job_seconds`, by the clock; `cpu_seconds`; `gpu_seconds`, by the clock times the GPUs that
        each job held. NaN where no job of the policy has finished.
    """
    known, folder = list(values), Path(results) / "logs"
    clock, cpu, gpu = [], [], []
    for path in sorted(path for stage in OWN for path in (folder / stage).glob("*.json")):
        of = parse_job(path.relative_to(folder), known).policy
        record = read_record(path)
        if of is None or of.name != policy or record is None or record["state"] != "done":
            continue
        clock.append(record["seconds"])
        cpu.append(record["cpu_seconds"])
        gpu.append(record["seconds"] * record["gpus_held"])
    found = {"job_seconds": clock, "cpu_seconds": cpu, "gpu_seconds": gpu}
    return {name: math.fsum(parts) if parts else math.nan for name, parts in found.items()}
