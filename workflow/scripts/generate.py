"""Sample one scatter item of one policy's responses."""

from polyalign.generate import generate
from polyalign.job import Job, run
from polyalign.logprobs import Sampling
from polyalign.models import load_causal_lm, load_tokenizer
from polyalign.tables import read_table, write_table


def main(job: Job) -> None:
    settings = job.settings
    model = load_causal_lm(**settings["model"])
    base = model if settings["model"] == settings["base"] else load_causal_lm(**settings["base"])
    tokenizer = load_tokenizer(settings["model"]["source"], revision=settings["model"]["revision"])
    prompts = read_table(job.input("prompts"))
    samples = generate(
        prompts[prompts["split"].isin(settings["splits"])],
        model,
        base,
        tokenizer,
        policy=settings["policy"],
        template=settings["template"],
        sampling=Sampling(**settings["sampling"]),
        candidates=settings["candidates"],
        batch_size=settings["batch_size"],
        seed=settings["seed"],
        shard=settings["shard"],
        shards=settings["shards"],
    )
    write_table(samples, job.outputs["samples"], settings)


run(main)
