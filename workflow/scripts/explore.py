"""One table of what figures show of the mathematics alone."""

import json
from importlib import import_module
from typing import Any

from polyalign.data.rewards_table import read_pool
from polyalign.data.tables import write_csv
from polyalign.runtime.job import Job, run


def main(job: Job, *, kind: str, settings: dict[str, Any]) -> None:
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in job.inputs.get("palettes", [])
    ]
    palettes = {record["palette"]: record for record in records}
    sweep = import_module(f"polyalign.palettes.sweeps.{kind}")
    write_csv(sweep.compute(read_pool(job.inputs), palettes, **settings), job.outputs["table"])


if __name__ == "__main__":
    run(main)
