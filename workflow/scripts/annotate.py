"""Score one scatter item of samples with one value's reward."""

from polyalign import values
from polyalign.annotate import annotate
from polyalign.cache import ScoreCache
from polyalign.job import Job, run
from polyalign.provenance import canonical, module_code, short_hash
from polyalign.tables import read_table, write_table


def main(job: Job) -> None:
    value, settings = job.settings["value"], job.settings["spec"]
    spec = values.identity(settings)
    made_by = {"spec": spec, "code": module_code(f"values.{settings['kind']}")}
    cache = job.work and ScoreCache(job.work, short_hash(canonical(made_by)), made_by)
    samples = read_table(job.input("samples"))
    reads_prompt = values.reads_prompt(settings)
    scores = annotate(samples, value, values.deferred(settings), cache, reads_prompt=reads_prompt)
    record = {"value": value, "settings": settings, "spec": spec}
    write_table(scores, job.outputs["scores"], record)


run(main)
