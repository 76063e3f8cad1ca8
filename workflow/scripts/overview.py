"""The study on one page."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from polyalign.data.cut_off import unread
from polyalign.data.tables import read_by_policy, read_settings, read_table
from polyalign.families import BASE
from polyalign.palettes.record import read_palettes
from polyalign.paths import model_of
from polyalign.report.answers import answers_data
from polyalign.report.content import PageContent, Picture
from polyalign.report.facts import model_facts
from polyalign.report.methods import citations, paragraphs
from polyalign.report.outcome import lead
from polyalign.report.page import summary_html
from polyalign.report.provenance import provenance
from polyalign.runtime.files import write_text
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    study: str,
    results: str,
    left_out: str,
    labels: list[tuple[str, str]],
    units: dict[str, str],
    policies: list[tuple[str, str | None]],
    chosen: list[str],
    elsewhere: list[str],
    checks: dict[str, str],
    methods: dict[str, Any],
) -> None:
    names, of_policies = dict(labels), dict(policies)
    tables = dict(zip(of_policies, job.inputs["rewards"], strict=True))
    frames = {policy: read_table(path) for policy, path in tables.items()}
    facts: dict[str, dict[str, float | str]] = {}
    cards: dict[str, dict[str, Any]] = {}
    for path in job.inputs.get("manifests", []):
        record = json.loads(path.read_text(encoding="utf-8"))["record"]
        facts[model_of(path).name] = model_facts(record)
        if "card" in record:
            cards[model_of(path).variant] = record["card"]
    base = frames[BASE.name]
    for fact, check in checks.items():
        module, _, name = check.partition(":")
        passes = getattr(import_module(module), name)
        passed = [passes(*pair) for pair in zip(base["prompt"], base["response"], strict=True)]
        facts.setdefault(BASE.name, {})[fact] = f"{100 * sum(passed) / len(passed):.1f} %"
    for path in job.inputs.get("prompts", []):
        if said := read_settings(path).get("said"):
            facts.setdefault(BASE.name, {})["data: prompts"] = "; ".join(said)
    levels = read_by_policy(job.inputs["levels"], of_policies)
    plots = Path(results) / "plots"
    content = PageContent(
        study=study,
        left_out=left_out,
        labels=names,
        policies=of_policies,
        levels={name: table.set_index("value") for name, table in levels.items()},
        unread={policy: unread([path]) for policy, path in tables.items()},
        chosen=chosen,
        opponent=methods["evaluation"]["opponent"],
        families=read_table(job.input("families")),
        judge=read_table(job.input("judge")) if job.inputs.get("judge") else None,
        facts=facts,
        cards=cards,
        pictures=[Picture.read(path, plots) for path in job.inputs.get("pictures", [])],
        elsewhere=elsewhere,
        # A table of scores may come without texts.
        answers=answers_data(frames, names) if "response" in base else None,
        methods=paragraphs({**methods, "labels": names, "chosen": chosen}),
        citations=citations(methods),
        provenance=provenance(Path(results), Path(__file__).parents[2]),
        config=json.loads(job.input("config").read_text(encoding="utf-8")),
    )
    palettes = read_palettes(job.inputs.get("palettes", []))
    summary = read_table(job.input("summary"))
    write_text(job.outputs["page"], summary_html(content, summary, palettes))
    write_text(job.outputs["outcome"], lead(content, summary, palettes))


if __name__ == "__main__":
    run(main)
