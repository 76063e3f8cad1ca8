"""How far the levels of soups are from linear in their weights."""

from polyalign.data.rewards_table import read_policies
from polyalign.data.tables import write_csv
from polyalign.evaluate.linearity import defects
from polyalign.report.html_tables import frame_page
from polyalign.runtime.files import write_text
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
    table = defects(frames, parts, values, bootstrap=bootstrap, seed=seed)
    write_csv(table, job.outputs["table"])
    write_text(job.outputs["page"], frame_page(title, table))


if __name__ == "__main__":
    run(main)
