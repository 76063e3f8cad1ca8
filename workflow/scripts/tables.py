"""Summary of the study, and its tables as pages, CSV, Markdown and LaTeX."""

from polyalign.evaluate import printed
from polyalign.evaluate.aims import read_aims
from polyalign.evaluate.costs import read_costs
from polyalign.evaluate.csv import read_by_policy, write_csv
from polyalign.evaluate.html import frame_page, printed_page
from polyalign.evaluate.latex import write_printed
from polyalign.evaluate.palettes import read_palettes
from polyalign.evaluate.summary import summary
from polyalign.files import write_text
from polyalign.job import Job, run


def main(job: Job) -> None:
    settings = job.settings
    labels, policies = dict(settings["labels"]), dict(settings["policies"])
    levels = read_by_policy(job.inputs["levels"], policies)
    winrates = read_by_policy(job.inputs["winrate"], policies)
    palettes = read_palettes(job.inputs.get("palettes", []))
    costs = {name: read_costs(settings["results"], name, labels) for name in policies}
    aims = read_aims(policies, palettes, job.inputs.get("decoded", []), settings["given"])
    chosen = settings["chosen"]
    table = summary(levels, winrates, palettes, policies, aims, chosen=chosen, costs=costs)
    titles, kept = settings["titles"], settings["maintained"]
    write_csv(table, job.outputs["summary"])
    write_text(job.outputs["prompts"], f"{table['n_prompts'].iloc[0]} test prompts")
    write_text(job.outputs["summary_html"], frame_page(titles["summary"], table))
    levels = {name: one.set_index("value") for name, one in levels.items()}
    winrates = {name: one.set_index("value") for name, one in winrates.items()}
    tables = {
        "winrates": printed.winrates(winrates, labels),
        "levels": printed.levels(levels, labels),
        "lambda": printed.lam(palettes, labels),
        "quantiles": printed.base_quantiles(levels["base/base"], labels, kept),
        "realised_quantiles": printed.realised_quantiles(levels, labels, kept),
    }
    for name, one in tables.items():
        kinds = {"csv": "csv", "markdown": "md", "latex": "tex"}
        write_printed(one, **{kind: job.outputs[f"{name}_{end}"] for kind, end in kinds.items()})
        write_text(job.outputs[f"{name}_html"], printed_page(titles[name], one))


run(main)
