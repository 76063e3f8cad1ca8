"""Write the sandbox's world: dialogues, preference pairs, labelled texts."""

from polyalign.runtime.job import Job, run
from polyalign.sandbox.world import write_world


def main(job: Job, *, seed: int, dialogues: int, pairs: int) -> None:
    write_world(job.outputs["folder"], seed=seed, dialogues=dialogues, pairs=pairs)


if __name__ == "__main__":
    run(main)
