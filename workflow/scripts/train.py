"""Train one policy of one family."""

import json

from polyalign import families
from polyalign.job import Job, run
from polyalign.manifest import write_manifest
from polyalign.tables import read_table


def main(job: Job) -> None:
    settings, inputs = job.settings, job.inputs
    prompts = read_table(job.input("prompts")) if "prompts" in inputs else None
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
            name: str(inputs.get(f"pairs:{name}", [path])[0])
            for name, path in settings.get("preferences", {}).items()
        },
        policies={
            name.removeprefix("model:"): paths[-1]
            for name, paths in inputs.items()
            if name.startswith("model:")
        },
        work=job.work,
    )
    record = families.module(settings["family"]).train(made_from, job.outputs["model"])
    write_manifest(job.outputs["model"], job.outputs["manifest"], settings, record)


run(main)
