"""Join the samples and the rewards of one policy."""

from polyalign.data.rewards_table import read_scored
from polyalign.data.specs import rewards_record
from polyalign.data.tables import write_table
from polyalign.runtime.job import Job, run


def main(job: Job, *, values: list[str]) -> None:
    samples, scores = job.inputs["samples"], job.inputs["scores"]
    frame = read_scored(samples, scores)
    columns = [name for name in frame if name not in values]
    write_table(frame[[*columns, *values]], job.outputs["rewards"], rewards_record(samples, scores))


if __name__ == "__main__":
    run(main)
