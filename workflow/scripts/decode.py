"""Answer the test prompts by choosing among the base model's candidates."""

from typing import Any

from polyalign.data.keys import batch_seed
from polyalign.data.specs import read_spec
from polyalign.data.tables import read_table, write_table
from polyalign.families import family as declared
from polyalign.palettes.lam import read_lam
from polyalign.runtime.job import Job, run


def main(job: Job, *, family: str, policy: str, seed: int, settings: dict[str, Any]) -> None:
    path = job.input("pool")
    palette = read_lam(job.input("palette")) if "palette" in job.inputs else {}
    decode = declared(family).implementation()
    drawn = batch_seed(seed, policy, 0)
    decoded = decode(read_table(path), palette, seed=drawn, **settings)
    record = {
        "settings": job.settings,
        "spec": read_spec(path),
        "lam": decoded.lam,
        "greedy": decoded.greedy,
        "expected": decoded.expected,
    }
    write_table(decoded.frame, job.outputs["rewards"], record)


if __name__ == "__main__":
    run(main)
