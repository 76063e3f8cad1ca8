"""The study on one page."""

import json

from polyalign.evaluate.methods import citations, methods
from polyalign.evaluate.page import Story, side_by_side, summary_html
from polyalign.evaluate.palettes import read_palettes
from polyalign.files import write_text
from polyalign.job import Job, run
from polyalign.sandbox.world import well_formed
from polyalign.tables import read_table


def main(job: Job) -> None:
    settings, labels = job.settings, dict(job.settings["labels"])
    policies = dict(zip(dict(settings["policies"]), job.inputs["rewards"], strict=True))
    frames = {policy: read_table(path) for policy, path in policies.items()}
    facts = {}
    for path in job.inputs.get("manifests", []):
        record = json.loads(path.read_text())["record"]
        name = f"{path.parent.name}/{path.stem}"
        loss = {"loss (nats/token)": record["loss"]} if "loss" in record else {}
        facts[name] = loss | record.get("held_out", {})
    if settings["sandbox"]:
        base = frames["base/base"]
        share = [well_formed(*pair) for pair in zip(base["prompt"], base["response"], strict=True)]
        facts.setdefault("base/base", {})["well-formed samples"] = sum(share) / len(share)
    story = Story(
        study=settings["study"],
        labels=labels,
        chosen=settings["chosen"],
        opponent=settings["methods"]["evaluation"]["opponent"],
        families=read_table(job.input("families")),
        facts=facts,
        samples=side_by_side(frames, list(labels)),
        methods=methods({**settings["methods"], "labels": labels, "chosen": settings["chosen"]}),
        citations=citations(settings["methods"]),
    )
    palettes = read_palettes(job.inputs.get("palettes", []))
    page = summary_html(story, read_table(job.input("summary")), palettes)
    write_text(job.outputs["page"], page)


run(main)
