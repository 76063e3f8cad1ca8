"""Solve the dual of one palette."""

from typing import Any

from polyalign.data.rewards_table import read_pool
from polyalign.map.dual import Limits
from polyalign.palettes.drawn import draw_levels
from polyalign.palettes.solve import solve_palette
from polyalign.runtime.files import write_json
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    palette: str,
    levels: dict[str, str | float],
    scope: str,
    if_infeasible: dict[str, Any],
    drawn: dict[str, Any] | None = None,
    now: dict[str, Any] | None = None,
) -> None:
    chosen, pool = now or if_infeasible, read_pool(job.inputs)
    if drawn:
        found = draw_levels(
            pool,
            palette,
            list(levels),
            scope=scope,
            limits=Limits(**drawn["limits"]),
            seed=drawn["seed"],
        )
        levels = dict(found)
    record = solve_palette(
        pool,
        palette,
        levels,
        scope=scope,
        on_infeasible=chosen["on_infeasible"],
        limits=Limits(**chosen.get("limits", {})),
    )
    print(record.get("message", "solved"))
    # The plan compares with what this job was told, for a palette on which it has no effect.
    write_json(job.outputs["lam"], {**record, "if_infeasible": if_infeasible})


if __name__ == "__main__":
    run(main)
