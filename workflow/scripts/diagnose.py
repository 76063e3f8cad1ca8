"""Diagnostics of one palette's λ."""

import json
from typing import Any

from polyalign.data.cut_off import unread
from polyalign.data.rewards_table import read_pool
from polyalign.map.dual import Limits
from polyalign.palettes.diagnose import diagnose_palette
from polyalign.runtime.files import write_json
from polyalign.runtime.job import Job, run


def main(job: Job, *, limits: dict[str, Any], resamples: int, seed: int) -> None:
    solved = json.loads(job.input("lam").read_text(encoding="utf-8"))
    record = diagnose_palette(
        read_pool(job.inputs),
        solved,
        limits=Limits(**limits),
        resamples=resamples,
        seed=seed,
        unread=unread(job.inputs.get("scores", [])),
    )
    print(record["message"])
    for warning in record["warnings"]:
        print(f"warning: {warning}")
    write_json(job.outputs["palette"], record)


if __name__ == "__main__":
    run(main)
