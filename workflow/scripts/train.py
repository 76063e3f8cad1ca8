"""Train one policy of one family."""

import json

from polyalign import families
from polyalign.job import Job, is_main_process, run
from polyalign.manifest import write_manifest, write_metrics
from polyalign.sources import has_splits
from polyalign.tables import read_scored, read_table


def main(job: Job) -> None:
    settings, inputs, outputs = job.settings, job.inputs, job.outputs
    prompts = read_table(job.input("prompts")) if "prompts" in inputs else None
    candidates = None
    if "samples" in inputs:
        candidates = read_scored(inputs["samples"], inputs["scores"]).query("split == 'fit'")
    preferences = settings.get("preferences", {})
    made_from = families.Ingredients(
        settings=settings["settings"],
        model=settings.get("model", {}),
        template=settings.get("template", ""),
        sampling=settings.get("sampling", {}),
        seed=settings.get("seed", 0),
        palette=json.loads(job.input("palette").read_text()) if "palette" in inputs else {},
        prompts=[] if prompts is None else list(prompts.query("split == 'fit'")["prompt"]),
        values=settings.get("values", {}),
        preferences={
            name: {**source, "source": str(inputs.get(f"pairs:{name}", [source["source"]])[0])}
            for name, source in preferences.items()
        },
        held_out={
            name: {
                **source,
                "source": str(inputs.get(f"held_out:{name}", [source["source"]])[0]),
                "split": "test",
            }
            for name, source in preferences.items()
            if has_splits(source["source"])
        },
        policies={
            name.removeprefix("model:"): paths[-1]
            for name, paths in inputs.items()
            if name.startswith("model:")
        },
        candidates=candidates,
        work=job.work,
    )
    record = families.module(settings["family"]).train(made_from, outputs["model"])
    if is_main_process():
        write_metrics(outputs["model"], outputs["metrics"])
        write_manifest(outputs["model"], outputs["manifest"], settings, record)


run(main)
