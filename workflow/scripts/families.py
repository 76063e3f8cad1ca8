"""Navigation efficiency and hypervolume of every family."""

from polyalign.evaluate import printed
from polyalign.evaluate.families import families
from polyalign.evaluate.latex import write_printed
from polyalign.evaluate.specs import check_same_spec
from polyalign.job import Job, run
from polyalign.tables import read_table


def main(job: Job) -> None:
    policies, values = job.settings.pop("policies"), job.settings.pop("values")
    for path in job.inputs["rewards"]:
        check_same_spec(path, job.inputs["rewards"][0])
    frames = dict(zip(policies, map(read_table, job.inputs["rewards"]), strict=True))
    table = printed.families(families(frames, values, **job.settings))
    ends = {"csv": "csv", "markdown": "md", "latex": "tex"}
    write_printed(table, **{kind: job.outputs[f"families_{end}"] for kind, end in ends.items()})


run(main)
