"""Answer the test prompts by choosing among the base model's candidates."""

import json

from polyalign import families
from polyalign.job import Job, run
from polyalign.seeds import batch_seed
from polyalign.tables import read_table, write_table


def main(job: Job) -> None:
    settings = job.settings
    pool = read_table(job.input("pool"))
    palette = json.loads(job.input("palette").read_text())
    decode = families.module(settings["family"]).decode
    seed = batch_seed(settings["seed"], settings["policy"], 0)
    frame = decode(pool, palette, seed=seed, **settings["settings"])
    write_table(frame, job.outputs["rewards"], settings)


run(main)
