"""What a policy cost, from the benchmark files that Snakemake writes beside the jobs."""

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from polyalign.paths import parse_job
from polyalign.runtime.job_record import read_record, record_path

OWN = ("train", "generate", "annotate", "decode")  # stages that work for one policy alone


def read_costs(results: str | Path, policy: str, values: Iterable[str]) -> dict[str, float]:
    """Seconds that the jobs of one policy took: its training, sampling and scoring.

    Shared work (the pool, reward models, the base model) is not attributed to any policy.
    Benchmarks are not inputs of any job, so a repeated run, which takes other seconds, reruns
    nothing.

    Args:
        results: folder of the study, with its `benchmarks` and its `logs`.
        policy: name `family/variant`.
        values: the study's values, which the names of the files hold.

    Returns:
        `job_seconds`, by the clock; `cpu_seconds`, as Snakemake samples them, so a job of a few
        seconds may miss some; `gpu_seconds`, by the clock times the GPUs that each job held, as its
        marker says. NaN where there is no file, or one job has no marker.
    """
    known = list(values)
    folder = Path(results) / "benchmarks"
    clock, cpu, gpu = [], [], []
    for stage in OWN:
        for path in sorted((folder / stage).glob("*.tsv")):
            of = parse_job(path.relative_to(folder), known).policy
            if of is None or of.name != policy:
                continue
            table = pd.read_csv(path, sep="\t", na_values=["NA", "-"])
            clock += table["s"].tolist()
            # A job that ended before the first sample has no CPU time; it counts as nothing.
            cpu += pd.to_numeric(table["cpu_time"], errors="coerce").fillna(0).tolist()
            record = record_path(Path(results) / "logs" / stage / f"{path.stem}.log")
            held = (read_record(record) or {}).get("gpus_held", math.nan)
            gpu += (table["s"] * held).tolist()
    found = {"job_seconds": clock, "cpu_seconds": cpu, "gpu_seconds": gpu}
    return {name: math.fsum(parts) if parts else math.nan for name, parts in found.items()}
