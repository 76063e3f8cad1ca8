"""Score one scatter item of samples with one value's reward."""

from typing import Any

from polyalign.data.tables import read_table, write_table
from polyalign.rewards.annotate import annotate_value
from polyalign.runtime.job import Job, run


def main(job: Job, *, value: str, spec: dict[str, Any]) -> None:
    samples = read_table(job.input("samples"))
    scores, identity = annotate_value(samples, value, spec, job.work)
    cut = {value: [scores.attrs.pop("cut"), len(scores)]}
    record = {"value": value, "settings": spec, "spec": identity, "cut": cut}
    write_table(scores, job.outputs["scores"], record)


if __name__ == "__main__":
    run(main)
