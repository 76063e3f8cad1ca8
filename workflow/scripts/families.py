"""Navigation efficiency and hypervolume of every family."""

from polyalign.evaluate import printed
from polyalign.evaluate.families import families
from polyalign.evaluate.html import printed_page
from polyalign.evaluate.latex import write_printed
from polyalign.evaluate.specs import check_same_spec
from polyalign.files import write_text
from polyalign.job import Job, run
from polyalign.tables import read_table


def main(job: Job) -> None:
    policies, values, title = map(job.settings.pop, ("policies", "values", "title"))
    for path in job.inputs["rewards"]:
        check_same_spec(path, job.inputs["rewards"][0])
    frames = dict(zip(policies, map(read_table, job.inputs["rewards"]), strict=True))
    table = printed.families(families(frames, values, **job.settings))
    ends = {"csv": "csv", "markdown": "md", "latex": "tex"}
    write_printed(table, **{kind: job.outputs[f"families_{end}"] for kind, end in ends.items()})
    write_text(job.outputs["families_html"], printed_page(title, table))


run(main)
