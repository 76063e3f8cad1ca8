"""Judge the solved dual of one palette."""

import json

from polyalign.diagnose import diagnose_palette
from polyalign.files import write_json
from polyalign.job import Job, run
from polyalign.map.dual import Limits
from polyalign.tables import read_scored, read_table


def main(job: Job) -> None:
    settings, inputs = job.settings, dict(job.inputs)
    solved = json.loads(job.input("lam").read_text(encoding="utf-8"))
    del inputs["lam"]
    pool = read_table(job.input("pool")) if "pool" in inputs else read_scored(**inputs)
    settings["limits"] = Limits(**settings["limits"])
    record = diagnose_palette(pool, solved, **settings)
    print(record["message"])
    for warning in record["warnings"]:
        print(f"warning: {warning}")
    write_json(job.outputs["palette"], record)


run(main)
