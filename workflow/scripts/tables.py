"""Summary of the study, and its tables as CSV, Markdown and LaTeX."""

from polyalign.evaluate import printed
from polyalign.evaluate.costs import read_costs
from polyalign.evaluate.csv import read_by_policy, write_csv
from polyalign.evaluate.latex import write_printed
from polyalign.evaluate.palettes import read_palettes
from polyalign.evaluate.summary import summary
from polyalign.job import Job, run


def main(job: Job) -> None:
    settings = job.settings
    labels, policies = dict(settings["labels"]), dict(settings["policies"])
    levels = read_by_policy(job.inputs["levels"], policies)
    winrates = read_by_policy(job.inputs["winrate"], policies)
    palettes = read_palettes(job.inputs.get("palettes", []))
    costs = {name: read_costs(settings["results"], name, labels) for name in policies}
    table = summary(levels, winrates, palettes, policies, chosen=settings["chosen"], costs=costs)
    write_csv(table, job.outputs["summary"])
    levels = {name: one.set_index("value") for name, one in levels.items()}
    winrates = {name: one.set_index("value") for name, one in winrates.items()}
    tables = {
        "winrates": printed.winrates(winrates, labels),
        "levels": printed.levels(levels, labels),
        "lambda": printed.lam(palettes, labels),
        "quantiles": printed.base_quantiles(levels["base/base"], labels, settings["maintained"]),
        "realised_quantiles": printed.realised_quantiles(levels, labels),
    }
    for name, one in tables.items():
        kinds = {"csv": "csv", "markdown": "md", "latex": "tex"}
        write_printed(one, **{kind: job.outputs[f"{name}_{end}"] for kind, end in kinds.items()})


run(main)
