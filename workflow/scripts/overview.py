"""The study on one page."""

import json
from typing import Any

from polyalign.data.tables import read_table
from polyalign.families import BASE
from polyalign.palettes.record import read_palettes
from polyalign.paths import model_of
from polyalign.report.methods import citations
from polyalign.report.methods import methods as method_text
from polyalign.report.page import Story, side_by_side, summary_html
from polyalign.runtime.files import write_text
from polyalign.runtime.job import Job, run
from polyalign.sandbox.world import well_formed


def main(
    job: Job,
    *,
    study: str,
    labels: list[tuple[str, str]],
    units: dict[str, str],
    policies: list[tuple[str, str | None]],
    chosen: list[str],
    sandbox: bool,
    methods: dict[str, Any],
) -> None:
    names = dict(labels)
    tables = zip(dict(policies), job.inputs["rewards"], strict=True)
    frames = {policy: read_table(path) for policy, path in tables}
    facts = {}
    for path in job.inputs.get("manifests", []):
        record = json.loads(path.read_text())["record"]
        name = model_of(path).name
        loss = {"loss (nats/token)": record["loss"]} if "loss" in record else {}
        facts[name] = loss | record.get("held_out", {})
    if sandbox:
        base = frames[BASE.name]
        share = [well_formed(*pair) for pair in zip(base["prompt"], base["response"], strict=True)]
        facts.setdefault(BASE.name, {})["well-formed samples"] = sum(share) / len(share)
    story = Story(
        study=study,
        labels=names,
        chosen=chosen,
        opponent=methods["evaluation"]["opponent"],
        families=read_table(job.input("families")),
        facts=facts,
        samples=side_by_side(frames, list(names)),
        methods=method_text({**methods, "labels": names, "chosen": chosen}),
        citations=citations(methods),
    )
    palettes = read_palettes(job.inputs.get("palettes", []))
    page = summary_html(story, read_table(job.input("summary")), palettes)
    write_text(job.outputs["page"], page)


if __name__ == "__main__":
    run(main)
