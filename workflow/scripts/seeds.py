"""How far the numbers of policies that are trained with several seeds depend on the seed."""

from itertools import chain

from polyalign.data.rewards_table import read_policies
from polyalign.data.specs import check_same_spec
from polyalign.data.tables import read_table
from polyalign.evaluate.clusters import judged_rows
from polyalign.evaluate.expected import read_choices
from polyalign.report.registry import TABLES
from polyalign.report.render import write_table
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    title: str,
    caption: str,
    groups: list[tuple[str, list[str]]],
    values: list[str],
    opponent: str,
) -> None:
    of_groups = dict(groups)
    paths, against = job.inputs["rewards"], job.input("opponent")
    check_same_spec(against, paths[0])
    pool = read_table(job.input("pool")) if "pool" in job.inputs else None
    frames = read_policies(list(chain(*of_groups.values())), paths)
    prompts = judged_rows(next(iter(frames.values())))["prompt_id"].nunique()
    frames.setdefault(opponent, read_choices(against, pool))
    table = TABLES["seeds"].make(frames, of_groups, values, opponent)
    said = caption.replace("{prompts}", f"{prompts} test prompts")
    write_table(table, title, {"csv": job.outputs["table"], "html": job.outputs["page"]}, said)


if __name__ == "__main__":
    run(main)
