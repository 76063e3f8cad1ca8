"""Ask a judge which answers are better, those of one policy or those of its opponent."""

import json
from dataclasses import asdict
from typing import Any

from polyalign.data.tables import read_table
from polyalign.evaluate.judged import pairs
from polyalign.evaluate.voting import votes_of
from polyalign.rewards.judging import PairJudge
from polyalign.runtime.files import write_text
from polyalign.runtime.job import Job, run


def main(job: Job, *, judge: dict[str, Any], policy: str, opponent: str, seed: int) -> None:
    asked = PairJudge(**judge)
    tables = (read_table(job.input(name)) for name in ("rewards", "opponent"))
    votes = votes_of(pairs(*tables, asked.prompts), asked, policy, opponent, seed)
    lines = (json.dumps(asdict(vote)) + "\n" for vote in votes)
    write_text(job.outputs["votes"], "".join(lines))


if __name__ == "__main__":
    run(main)
