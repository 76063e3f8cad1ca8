"""Levels of one policy on the test split."""

from polyalign.data.specs import check_same_spec
from polyalign.data.tables import read_settings, read_table, write_csv
from polyalign.evaluate.levels import levels
from polyalign.runtime.job import Job, run


def main(
    job: Job, *, values: list[str], max_new_tokens: int | None, bootstrap: int, seed: int
) -> None:
    paths = job.input("rewards"), job.input("base")
    check_same_spec(*paths)
    frame, base = map(read_table, paths)
    table = levels(
        frame,
        values,
        base,
        expected=read_settings(paths[0]).get("expected"),
        max_new_tokens=max_new_tokens,
        bootstrap=bootstrap,
        seed=seed,
    )
    write_csv(table, job.outputs["levels"])


if __name__ == "__main__":
    run(main)
