"""Draw one figure."""

from importlib import import_module

from polyalign.job import Job, run
from polyalign.plots import data


def main(job: Job) -> None:
    settings = job.settings
    figure = import_module(f"polyalign.plots.{settings['figure']}")
    read = data.load(**settings["shown"], policy=settings["policy"], inputs=job.inputs)
    figure.draw(read, list(job.outputs.values()))


run(main)
