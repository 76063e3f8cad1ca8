"""Score one scatter item of samples with several values' rewards, one after another.

The scores go into the cache, from which each value's own job collects them. So the libraries of the
models are imported once per scatter item. A value that fails is left to its own job, which fails
with the reason; the scores of the others are kept.
"""

import gc
import traceback
from typing import Any

from polyalign import rewards
from polyalign.data.tables import read_table
from polyalign.rewards.annotate import annotate
from polyalign.rewards.score_cache import cache_of
from polyalign.runtime.files import write_json
from polyalign.runtime.job import Job, run


def main(job: Job, *, values: dict[str, dict[str, Any]]) -> None:
    if job.work is None:
        raise TypeError("a scoring job needs the folder of the cache (--work)")
    samples = read_table(job.input("samples"))
    scored = []
    for value, spec in values.items():
        print(f"{value}:", flush=True)
        try:
            reads_prompt = rewards.spec_of(spec).reads_prompt()
            cache = cache_of(job.work, spec)
            annotate(samples, value, rewards.deferred(spec), cache, reads_prompt=reads_prompt)
            scored.append(value)
        except Exception:
            traceback.print_exc()
        # The model of a value is freed before the next one is loaded.
        gc.collect()
    write_json(job.outputs["scored"], {"values": scored})


if __name__ == "__main__":
    run(main)
