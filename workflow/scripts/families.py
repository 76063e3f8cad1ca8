"""Navigation efficiency and hypervolume of every family."""

from polyalign.data.specs import check_same_spec
from polyalign.data.tables import read_table
from polyalign.evaluate.clusters import judged_rows
from polyalign.evaluate.expected import read_choices
from polyalign.evaluate.navigation import families
from polyalign.report.registry import TABLES, output
from polyalign.report.render import write_table
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    title: str,
    caption: str,
    policies: list[str],
    values: list[str],
    opponent: str,
    slack: float,
    reference: dict[str, float],
    scale: dict[str, float],
    bootstrap: int,
    seed: int,
) -> None:
    paths = job.inputs["rewards"]
    pool = read_table(job.input("pool")) if "pool" in job.inputs else None
    for path in paths:
        check_same_spec(path, paths[0])
    frames = {
        policy: read_choices(path, pool) for policy, path in zip(policies, paths, strict=True)
    }
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
    table = TABLES["families"]
    paths = {kind: job.outputs[output("families", kind)] for kind in table.kinds}
    prompts = judged_rows(next(iter(frames.values())))["prompt_id"].nunique()
    said = caption.replace("{prompts}", f"{prompts} test prompts")
    write_table(table.make(found), title, paths, said)


if __name__ == "__main__":
    run(main)
