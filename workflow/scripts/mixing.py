"""How far the levels of soups are from linear in their weights."""

from polyalign.data.rewards_table import read_policies
from polyalign.report.registry import TABLES
from polyalign.report.render import write_table
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    title: str,
    policies: list[str],
    parts: dict[str, dict[str, float]],
    values: list[str],
    bootstrap: int,
    seed: int,
) -> None:
    frames = read_policies(policies, job.inputs["rewards"])
    table = TABLES["mixing"].make(frames, parts, values, bootstrap=bootstrap, seed=seed)
    write_table(table, title, {"csv": job.outputs["table"], "html": job.outputs["page"]})


if __name__ == "__main__":
    run(main)
