"""Write the sandbox's world: dialogues, preference pairs, labelled texts."""

from polyalign.job import Job, run
from polyalign.sandbox.world import write_world


def main(job: Job) -> None:
    write_world(job.outputs["folder"], **job.settings)


run(main)
