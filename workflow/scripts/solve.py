"""Solve the dual of one palette."""

from typing import Any

from polyalign.data.rewards_table import read_pool
from polyalign.map.dual import Limits
from polyalign.palettes.solve import solve_palette
from polyalign.runtime.files import write_json
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    palette: str,
    levels: dict[str, str | float],
    scope: str,
    on_infeasible: str,
    limits: dict[str, Any] | None = None,
) -> None:
    record = solve_palette(
        read_pool(job.inputs),
        palette,
        levels,
        scope=scope,
        on_infeasible=on_infeasible,
        limits=Limits(**(limits or {})),
    )
    write_json(job.outputs["lam"], record)


if __name__ == "__main__":
    run(main)
