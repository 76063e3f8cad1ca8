"""Summary of the study, and its win rates as CSV, Markdown and LaTeX."""

from polyalign.evaluate.csv import read_by_policy, write_csv
from polyalign.evaluate.latex import winrate_tables
from polyalign.evaluate.palettes import read_palettes
from polyalign.evaluate.summary import summary
from polyalign.job import Job, run


def main(job: Job) -> None:
    policies = job.settings["policies"]
    levels = read_by_policy(job.inputs["levels"], policies)
    winrates = read_by_policy(job.inputs["winrate"], policies)
    palettes = read_palettes(job.inputs["palettes"])
    write_csv(summary(levels, winrates, palettes, policies), job.outputs["summary"])
    files = {name: job.outputs[name] for name in ("latex", "markdown", "csv")}
    winrate_tables(winrates, job.settings["labels"], **files)


run(main)
