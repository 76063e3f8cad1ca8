"""Score one scatter item of samples with one value's reward, or collect its scores."""

from typing import Any

from polyalign import rewards
from polyalign.data.tables import read_table, write_table
from polyalign.rewards.annotate import annotate
from polyalign.rewards.score_cache import cache_of
from polyalign.runtime.job import Job, run


def main(job: Job, *, value: str, spec: dict[str, Any]) -> None:
    entry = rewards.spec_of(spec)
    cache = cache_of(job.work, spec) if job.work else None
    samples = read_table(job.input("samples"))
    reward = rewards.deferred(spec)
    scores = annotate(samples, value, reward, cache, reads_prompt=entry.reads_prompt())
    record = {"value": value, "settings": spec, "spec": entry.identity()}
    write_table(scores, job.outputs["scores"], record)


if __name__ == "__main__":
    run(main)
