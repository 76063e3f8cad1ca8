"""Score one scatter item of samples with one value's reward."""

from typing import Any

from polyalign import rewards
from polyalign.data.tables import read_table, write_table
from polyalign.rewards.annotate import annotate
from polyalign.rewards.score_cache import ScoreCache
from polyalign.runtime.code import canonical, module_code, short_hash
from polyalign.runtime.job import Job, run


def main(job: Job, *, value: str, spec: dict[str, Any]) -> None:
    entry = rewards.spec_of(spec)
    identity = entry.identity()
    code = module_code(f"polyalign.rewards.kinds.{spec['kind']}")
    made_by = {"spec": identity, "code": code}
    name = f"{spec['kind']}-{short_hash(canonical(made_by))}"
    cache = ScoreCache(job.work, name, made_by) if job.work else None
    samples = read_table(job.input("samples"))
    reward = rewards.deferred(spec)
    if cache:
        print(f"scores are kept in {cache.folder}")
    scores = annotate(
        samples,
        value,
        reward,
        cache,
        reads_prompt=entry.reads_prompt(),
        at_once=entry.AT_ONCE,
    )
    cut = {value: [scores.attrs.pop("cut"), len(scores)]}
    record = {"value": value, "settings": spec, "spec": identity, "cut": cut}
    write_table(scores, job.outputs["scores"], record)


if __name__ == "__main__":
    run(main)
