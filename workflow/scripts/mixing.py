"""How far the levels of soups are from linear in their weights."""

from polyalign.evaluate.csv import write_csv
from polyalign.evaluate.mixing import defects
from polyalign.evaluate.specs import check_same_spec
from polyalign.job import Job, run
from polyalign.tables import read_table


def main(job: Job) -> None:
    policies = job.settings.pop("policies")
    for path in job.inputs["rewards"]:
        check_same_spec(path, job.inputs["rewards"][0])
    frames = dict(zip(policies, map(read_table, job.inputs["rewards"]), strict=True))
    write_csv(defects(frames, **job.settings), job.outputs["table"])


run(main)
