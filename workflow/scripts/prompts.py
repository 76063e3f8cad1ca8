"""Collect the study's prompts."""

from typing import Any

from polyalign.data.prompts import prompt_table
from polyalign.data.tables import write_table
from polyalign.runtime.job import Job, run


def main(
    job: Job, *, sources: list[dict[str, Any]], limit: int | None, test_share: float, seed: int
) -> None:
    frame = prompt_table(sources, limit=limit, test_share=test_share, seed=seed)
    write_table(frame, job.outputs["prompts"], job.settings)


if __name__ == "__main__":
    run(main)
