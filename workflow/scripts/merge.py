"""Join the samples and the rewards of one policy."""

from polyalign.job import Job, run
from polyalign.tables import read_scored, read_settings, write_table


def main(job: Job) -> None:
    parts = {name: job.inputs[name] for name in ("samples", "scores")}
    record = {name: [read_settings(path) for path in paths] for name, paths in parts.items()}
    frame = read_scored(**parts)
    columns = [name for name in frame if name not in job.settings["values"]]
    write_table(frame[[*columns, *job.settings["values"]]], job.outputs["rewards"], record)


run(main)
