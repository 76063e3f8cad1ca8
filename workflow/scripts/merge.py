"""Join the samples and the rewards of one policy."""

from polyalign.job import Job, run
from polyalign.tables import read_scored, rewards_record, write_table


def main(job: Job) -> None:
    parts = {name: job.inputs[name] for name in ("samples", "scores")}
    frame = read_scored(**parts)
    columns = [name for name in frame if name not in job.settings["values"]]
    frame = frame[[*columns, *job.settings["values"]]]
    write_table(frame, job.outputs["rewards"], rewards_record(**parts))


run(main)
