"""Answer the test prompts by choosing among the base model's candidates."""

import json

from polyalign import families
from polyalign.job import Job, run
from polyalign.seeds import batch_seed
from polyalign.tables import read_spec, read_table, write_table


def main(job: Job) -> None:
    settings, path = job.settings, job.input("pool")
    palette = json.loads(job.input("palette").read_text()) if "palette" in job.inputs else {}
    decode = families.module(settings["family"]).decode
    seed = batch_seed(settings["seed"], settings["policy"], 0)
    made = decode(read_table(path), palette, seed=seed, **settings["settings"])
    record = {
        "settings": settings,
        "spec": read_spec(path),
        "lam": made.lam,
        "expected": made.expected,
    }
    write_table(made.frame, job.outputs["rewards"], record)


run(main)
