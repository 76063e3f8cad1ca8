"""Read scores that somebody already has."""

from polyalign.data.rewards_table import check_splits, hold_out, read_rewards
from polyalign.data.specs import imported_spec
from polyalign.data.tables import write_table
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    columns: dict[str, str],
    negated: list[str],
    above: dict[str, float],
    test_share: float,
) -> None:
    path = job.input("table")
    table = read_rewards(path, columns=columns, negated=negated, above=above, test_share=test_share)
    check_splits(set(table["split"]), path)
    record = {"settings": job.settings, "spec": imported_spec(path, columns, negated, above)}
    pool, reference = hold_out(table, judge_on_all=test_share == 0)
    write_table(pool, job.outputs["pool"], record)
    write_table(reference, job.outputs["reference"], record)


if __name__ == "__main__":
    run(main)
