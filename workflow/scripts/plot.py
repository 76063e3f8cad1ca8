"""Draw one figure."""

from importlib import import_module

from polyalign.job import Job, run
from polyalign.plots import data


def main(job: Job) -> None:
    settings = job.settings
    shown = {name: settings[name] for name in ("labels", "units", "policies")}
    figure = import_module(f"polyalign.plots.{settings['figure']}")
    figure.draw(data.load(**shown, **job.inputs), list(job.outputs.values()))


run(main)
