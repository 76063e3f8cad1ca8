"""Summary of the study, and its tables as pages, CSV, Markdown and LaTeX."""

from polyalign.data.tables import read_by_policy, write_csv
from polyalign.evaluate.costs import read_costs
from polyalign.evaluate.expected import read_expected
from polyalign.evaluate.summary import summary
from polyalign.families import BASE
from polyalign.palettes.record import read_palettes
from polyalign.report import tables as printed
from polyalign.report.html_tables import frame_page, printed_page
from polyalign.report.render import write_printed
from polyalign.runtime.files import write_text
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    labels: list[tuple[str, str]],
    units: dict[str, str],
    policies: list[tuple[str, str | None]],
    chosen: list[str],
    maintained: list[str],
    results: str,
    titles: dict[str, str],
    given: dict[str, dict[str, float]],
) -> None:
    names, of_policies = dict(labels), dict(policies)
    levels = read_by_policy(job.inputs["levels"], of_policies)
    winrates = read_by_policy(job.inputs["winrate"], of_policies)
    palettes = read_palettes(job.inputs.get("palettes", []))
    costs = {name: read_costs(results, name, names) for name in of_policies}
    expected = read_expected(of_policies, palettes, job.inputs.get("decoded", []), given)
    table = summary(levels, winrates, palettes, of_policies, expected, chosen=chosen, costs=costs)
    write_csv(table, job.outputs["summary"])
    write_text(job.outputs["prompts"], f"{table['n_prompts'].iloc[0]} test prompts")
    write_text(job.outputs["summary_html"], frame_page(titles["summary"], table))
    levels = {name: one.set_index("value") for name, one in levels.items()}
    winrates = {name: one.set_index("value") for name, one in winrates.items()}
    tables = {
        "winrates": printed.winrates(winrates, names),
        "levels": printed.levels(levels, names),
        "lambda": printed.lam(palettes, names),
        "quantiles": printed.base_quantiles(levels[BASE.name], names, maintained),
        "realised_quantiles": printed.realised_quantiles(levels, names, maintained),
    }
    for name, one in tables.items():
        kinds = {"csv": "csv", "markdown": "md", "latex": "tex"}
        write_printed(one, **{kind: job.outputs[f"{name}_{end}"] for kind, end in kinds.items()})
        write_text(job.outputs[f"{name}_html"], printed_page(titles[name], one))


if __name__ == "__main__":
    run(main)
