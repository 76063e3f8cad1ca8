"""Collect the study's prompts."""

from typing import Any

from polyalign.data.prompts import prompt_table
from polyalign.data.tables import write_table
from polyalign.models.encoding import LengthLimit
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    sources: list[dict[str, Any]],
    limit: int | None,
    test_share: float,
    seed: int,
    system: str | None,
    longest: dict[str, Any] | None = None,
) -> None:
    fits = None
    if longest is not None:
        from polyalign.models.load import load_tokenizer

        tokenizer = load_tokenizer(longest["source"], revision=longest["revision"])
        fits = LengthLimit(tokenizer, longest["template"], longest["tokens"])
    frame = prompt_table(
        sources, limit=limit, test_share=test_share, seed=seed, system=system, fits=fits
    )
    if fits is not None and fits.left_out:
        print(f"warning: {fits.message()}")
    record = {**job.settings, **({"left_out": fits.left_out} if fits else {}), **frame.attrs}
    write_table(frame, job.outputs["prompts"], record)


if __name__ == "__main__":
    run(main)
