"""The study on one page."""

import json
from importlib import import_module
from typing import Any

from polyalign.data.tables import read_table
from polyalign.families import BASE
from polyalign.palettes.record import read_palettes
from polyalign.paths import model_of
from polyalign.report.facts import model_facts
from polyalign.report.methods import citations, paragraphs
from polyalign.report.page import PageContent, side_by_side, summary_html
from polyalign.runtime.files import write_text
from polyalign.runtime.job import Job, run


def main(
    job: Job,
    *,
    study: str,
    left_out: str,
    labels: list[tuple[str, str]],
    units: dict[str, str],
    policies: list[tuple[str, str | None]],
    chosen: list[str],
    checks: dict[str, str],
    methods: dict[str, Any],
) -> None:
    names = dict(labels)
    tables = zip(dict(policies), job.inputs["rewards"], strict=True)
    frames = {policy: read_table(path) for policy, path in tables}
    facts: dict[str, dict[str, float | str]] = {}
    for path in job.inputs.get("manifests", []):
        record = json.loads(path.read_text(encoding="utf-8"))["record"]
        facts[model_of(path).name] = model_facts(record)
    base = frames[BASE.name]
    for fact, check in checks.items():
        module, _, name = check.partition(":")
        passes = getattr(import_module(module), name)
        passed = [passes(*pair) for pair in zip(base["prompt"], base["response"], strict=True)]
        facts.setdefault(BASE.name, {})[fact] = sum(passed) / len(passed)
    content = PageContent(
        study=study,
        left_out=left_out,
        labels=names,
        chosen=chosen,
        opponent=methods["evaluation"]["opponent"],
        families=read_table(job.input("families")),
        facts=facts,
        # A table of scores may come without texts.
        samples=side_by_side(frames, list(names)) if "response" in base else [],
        methods=paragraphs({**methods, "labels": names, "chosen": chosen}),
        citations=citations(methods),
    )
    palettes = read_palettes(job.inputs.get("palettes", []))
    page = summary_html(content, read_table(job.input("summary")), palettes)
    write_text(job.outputs["page"], page)


if __name__ == "__main__":
    run(main)
