"""Score one scatter item of samples with one value's reward."""

from polyalign import values
from polyalign.annotate import annotate
from polyalign.job import Job, run
from polyalign.tables import read_table, write_table


def main(job: Job) -> None:
    samples = read_table(job.input("samples"))
    scores = annotate(samples, job.settings["value"], values.load(job.settings["spec"]))
    write_table(scores, job.outputs["scores"], job.settings)


run(main)
