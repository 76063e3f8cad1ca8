"""Write the config as this study used it."""

from polyalign.files import write_json
from polyalign.job import Job, run


def main(job: Job) -> None:
    write_json(job.outputs["config"], job.settings)


run(main)
