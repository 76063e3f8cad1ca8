"""Summary of the study, and its tables as pages, CSV, Markdown and LaTeX."""

from polyalign.data.tables import read_by_policy, read_table
from polyalign.evaluate.costs import read_costs
from polyalign.evaluate.expected import read_expected
from polyalign.evaluate.seeds import spread, with_spread
from polyalign.evaluate.summary import summary
from polyalign.palettes.record import read_palettes
from polyalign.report.registry import TABLES, output
from polyalign.report.render import write_table
from polyalign.report.tables import StudyTables
from polyalign.runtime.files import write_text
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    labels: list[tuple[str, str]],
    units: dict[str, str],
    policies: list[tuple[str, str | None]],
    chosen: list[str],
    opponent: str,
    maintained: list[str],
    results: str,
    titles: dict[str, str],
    captions: dict[str, str],
    given: dict[str, dict[str, float]],
) -> None:
    names, of_policies = dict(labels), dict(policies)
    levels = read_by_policy(job.inputs["levels"], of_policies)
    winrates = read_by_policy(job.inputs["winrate"], of_policies)
    palettes = read_palettes(job.inputs.get("palettes", []))
    costs = {name: read_costs(results, name, names) for name in of_policies}
    expected = read_expected(
        of_policies,
        palettes,
        job.inputs.get("decoded", []),
        given,
        job.inputs.get("trained", []),
        job.inputs.get("steered", []),
    )
    table = summary(
        levels,
        winrates,
        palettes,
        of_policies,
        expected,
        chosen=chosen,
        opponent=opponent,
        costs=costs,
    )
    by_seed = spread(read_table(job.input("seeds"))) if "seeds" in job.inputs else {}
    table = with_spread(table, by_seed)
    prompts = f"{table['n_prompts'].iloc[0]} test prompts"
    write_text(job.outputs["prompts"], prompts)
    numbers = StudyTables(
        labels=names,
        levels={name: one.set_index("value") for name, one in levels.items()},
        winrates={name: one.set_index("value") for name, one in winrates.items()},
        palettes=palettes,
        maintained=maintained,
        summary=table,
        spread=by_seed,
    )
    for name, made in TABLES.items():
        if made.rule == "tables":
            paths = {kind: job.outputs[output(name, kind)] for kind in made.kinds}
            caption = captions[name].replace("{prompts}", prompts)
            write_table(made.make(numbers), titles[name], paths, caption)


if __name__ == "__main__":
    run(main)
