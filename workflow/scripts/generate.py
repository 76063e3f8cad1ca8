"""Sample one scatter item of one policy's responses."""

import json

from polyalign import families
from polyalign.engines import TransformersEngine, VllmEngine, end_tokens
from polyalign.generate import counts, generate
from polyalign.job import Job, run
from polyalign.logprobs import Sampling
from polyalign.models import load_causal_lm, load_tokenizer
from polyalign.tables import read_table, sampling_spec, write_table

ARGUMENTS = ("policy", "template", "candidates", "batch_size", "seed", "shard", "shards")


def main(job: Job) -> None:
    settings, sampling = job.settings, Sampling(**job.settings["sampling"])
    model = load_causal_lm(**settings["model"])
    base = model if settings["model"] == settings["base"] else load_causal_lm(**settings["base"])
    tokenizer = load_tokenizer(settings["model"]["source"], revision=settings["model"]["revision"])
    engine = TransformersEngine(model, tokenizer, sampling)
    if "guided" in settings:
        palette = json.loads(job.input("palette").read_text()) if "palette" in job.inputs else {}
        family = families.module(settings["policy"].split("/")[0])
        engine = family.engine(model, tokenizer, sampling, palette, **settings["guided"])
    elif settings["engine"] == "vllm":
        ends = end_tokens(model, tokenizer)
        engine = VllmEngine(settings["model"], ends, tokenizer, sampling)
    prompts = read_table(job.input("prompts"))
    prompts = prompts[prompts["split"].isin(settings["splits"])]
    arguments = {name: settings[name] for name in ARGUMENTS}
    samples = generate(prompts, engine, model, base, tokenizer, sampling=sampling, **arguments)
    spec = sampling_spec(settings["sampling"], settings["template"], settings["base"])
    record = {"settings": settings, "spec": spec, "counts": counts(samples)}
    print(record["counts"])
    write_table(samples, job.outputs["samples"], record)


run(main)
