"""How far the levels of soups are from linear in their weights."""

from polyalign.evaluate.csv import write_csv
from polyalign.evaluate.html import frame_page
from polyalign.evaluate.mixing import defects
from polyalign.evaluate.specs import check_same_spec
from polyalign.files import write_text
from polyalign.job import Job, run
from polyalign.tables import read_table


def main(job: Job) -> None:
    policies, title = map(job.settings.pop, ("policies", "title"))
    for path in job.inputs["rewards"]:
        check_same_spec(path, job.inputs["rewards"][0])
    frames = dict(zip(policies, map(read_table, job.inputs["rewards"]), strict=True))
    table = defects(frames, **job.settings)
    write_csv(table, job.outputs["table"])
    write_text(job.outputs["page"], frame_page(title, table))


run(main)
