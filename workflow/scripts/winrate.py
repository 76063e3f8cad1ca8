"""Win rates of one policy against its opponent on the test split."""

from polyalign.data.specs import check_same_spec
from polyalign.data.tables import read_table, write_csv
from polyalign.evaluate.expected import read_choices
from polyalign.evaluate.winrate import winrate
from polyalign.runtime.job import Job, run


def main(job: Job, *, values: list[str], bootstrap: int, seed: int) -> None:
    paths = job.input("rewards"), job.input("opponent")
    check_same_spec(*paths)
    pool = read_table(job.input("pool")) if "pool" in job.inputs else None
    frame, opponent = (read_choices(path, pool) for path in paths)
    table = winrate(frame, opponent, values, bootstrap=bootstrap, seed=seed)
    write_csv(table, job.outputs["winrate"])


if __name__ == "__main__":
    run(main)
