"""How far the levels of soups are from linear in their weights."""

from polyalign.data.rewards_table import read_policies
from polyalign.evaluate.clusters import judged_rows
from polyalign.report.registry import TABLES
from polyalign.report.render import write_table
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    title: str,
    caption: str,
    policies: list[str],
    parts: dict[str, dict[str, float]],
    values: list[str],
    bootstrap: int,
    seed: int,
) -> None:
    frames = read_policies(policies, job.inputs["rewards"])
    table = TABLES["mixing"].make(frames, parts, values, bootstrap=bootstrap, seed=seed)
    prompts = judged_rows(next(iter(frames.values())))["prompt_id"].nunique()
    said = caption.replace("{prompts}", f"{prompts} test prompts")
    write_table(table, title, {"csv": job.outputs["table"], "html": job.outputs["page"]}, said)


if __name__ == "__main__":
    run(main)
