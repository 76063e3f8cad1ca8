"""Draw one figure, and write what it shows in a sentence or two for its caption."""

from importlib import import_module

from polyalign.files import write_text
from polyalign.job import Job, run
from polyalign.plots import data


def main(job: Job) -> None:
    settings = job.settings
    figure = import_module(f"polyalign.plots.{settings['figure']}")
    read = data.load(**settings["shown"], policy=settings["policy"], inputs=job.inputs)
    figure.draw(read, [job.outputs["pdf"], job.outputs["png"]])
    write_text(job.outputs["finding"], read.caption(figure.finding(read)))


run(main)
