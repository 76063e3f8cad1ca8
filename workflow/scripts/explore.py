"""One table of what figures show of the mathematics alone."""

import json
from importlib import import_module

from polyalign.evaluate.csv import write_csv
from polyalign.job import Job, run
from polyalign.tables import read_scored, read_table


def main(job: Job) -> None:
    inputs = job.inputs
    parts = {name: inputs[name] for name in ("samples", "scores") if name in inputs}
    pool = read_scored(**parts) if parts else read_table(job.input("pool"))
    records = [json.loads(path.read_text()) for path in inputs.get("palettes", [])]
    palettes = {record["palette"]: record for record in records}
    module = import_module(f"polyalign.explore.{job.settings['kind']}")
    write_csv(module.compute(pool, palettes, job.settings["settings"]), job.outputs["table"])


run(main)
