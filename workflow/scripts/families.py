"""Navigation efficiency and hypervolume of every family."""

from polyalign.data.rewards_table import read_policies
from polyalign.evaluate.navigation import families
from polyalign.report import tables
from polyalign.report.html_tables import printed_page
from polyalign.report.render import write_printed
from polyalign.runtime.files import write_text
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    title: str,
    policies: list[str],
    values: list[str],
    opponent: str,
    slack: float,
    reference: dict[str, float],
    scale: dict[str, float],
    bootstrap: int,
    seed: int,
) -> None:
    frames = read_policies(policies, job.inputs["rewards"])
    found = families(
        frames,
        values,
        opponent=opponent,
        slack=slack,
        reference=reference,
        scale=scale,
        bootstrap=bootstrap,
        seed=seed,
    )
    table = tables.families(found)
    ends = {"csv": "csv", "markdown": "md", "latex": "tex"}
    write_printed(table, **{kind: job.outputs[f"families_{end}"] for kind, end in ends.items()})
    write_text(job.outputs["families_html"], printed_page(title, table))


if __name__ == "__main__":
    run(main)
