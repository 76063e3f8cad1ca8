"""Win rates by a judge beside those by rewards, and how far the two agree."""

from polyalign.data.specs import check_same_spec
from polyalign.data.tables import read_table
from polyalign.data.votes import read_votes
from polyalign.evaluate.clusters import judged_rows
from polyalign.evaluate.judged import judged, pairs
from polyalign.report.registry import TABLES, output
from polyalign.report.render import write_table
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    title: str,
    caption: str,
    policies: list[str],
    labels: list[tuple[str, str]],
    prompts: int,
    bootstrap: int,
    seed: int,
) -> None:
    names, found = dict(labels), {}
    opponent = read_table(job.input("opponent"))
    for policy, rewards, votes in zip(
        policies, job.inputs["rewards"], job.inputs["votes"], strict=True
    ):
        check_same_spec(rewards, job.input("opponent"))
        compared = pairs(read_table(rewards), opponent, prompts)
        found[policy] = judged(
            read_votes(votes), compared, policy, list(names), bootstrap=bootstrap, seed=seed
        )
    table = TABLES["judge"]
    paths = {kind: job.outputs[output("judge", kind)] for kind in table.kinds}
    tested = judged_rows(opponent)["prompt_id"].nunique()
    said = caption.replace("{prompts}", f"{tested} test prompts")
    write_table(table.make(found, names), title, paths, said)


if __name__ == "__main__":
    run(main)
