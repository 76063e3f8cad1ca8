"""How far the levels of soups are from linear in their weights."""

from polyalign.data.rewards_table import read_policies
from polyalign.evaluate.clusters import judged_rows
from polyalign.report.registry import TABLES
from polyalign.report.render import write_table
from polyalign.report.topics import by_soup
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    title: str,
    caption: str,
    policies: list[str],
    parts: dict[str, dict[str, float]],
    values: list[str],
    labels: list[tuple[str, str]],
    bootstrap: int,
    seed: int,
) -> None:
    frames = read_policies(policies, job.inputs["rewards"])
    table = TABLES["mixing"].make(frames, parts, values, bootstrap=bootstrap, seed=seed)
    prompts = judged_rows(next(iter(frames.values())))["prompt_id"].nunique()
    said = caption.replace("{prompts}", f"{prompts} test prompts")
    files = {"csv": job.outputs["table"], "html": job.outputs["page"]}
    write_table(by_soup(table, dict(labels)), title, files, said)


if __name__ == "__main__":
    run(main)
