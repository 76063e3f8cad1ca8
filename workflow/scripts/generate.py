"""Sample one scatter item of one policy's responses."""

import json
from typing import Any

from polyalign.data.cut_off import cut_share, cut_warning
from polyalign.data.tables import read_table, write_table
from polyalign.families import Policy, family
from polyalign.models.encoding import pad_with_known
from polyalign.models.endings import end_tokens
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.palettes.lam import read_lam
from polyalign.runtime.job import Job, run
from polyalign.sampling.drawing import sampler
from polyalign.sampling.engines import Engine, VllmEngine
from polyalign.sampling.generate import counts, generate, sampling_spec
from polyalign.settings import SamplingRule


def main(
    job: Job,
    *,
    policy: str,
    model: dict[str, Any],
    base: dict[str, Any],
    template: str,
    sampling: dict[str, Any],
    splits: list[str],
    candidates: int,
    batch_size: int,
    seed: int,
    shard: int,
    shards: int,
    engine: str | None = None,
    guided: dict[str, Any] | None = None,
) -> None:
    rule = SamplingRule(**sampling)
    policy_model = load_causal_lm(**model)
    base_model = policy_model if model == base else load_causal_lm(**base)
    tokenizer = load_tokenizer(model["source"], revision=model["revision"])
    pad_with_known(tokenizer, policy_model)
    draws: Engine
    if guided is not None:
        palette = read_lam(job.input("palette")) if "palette" in job.inputs else {}
        if "steered" in job.inputs:
            lam = json.loads(job.input("steered").read_text(encoding="utf-8"))["lam"]
            guided = {**guided, "settings": {**guided["settings"], "lam": lam}}
        guide = family(Policy.parse(policy).family).implementation()
        draws = guide(policy_model, tokenizer, rule, palette, **guided)
        # With learnt values a copy of the base model draws, whose weights are moved.
        policy_model = draws.model
    elif engine == "vllm":
        draws = VllmEngine(
            model, end_tokens(policy_model.generation_config, tokenizer), tokenizer, rule
        )
    else:
        draws = sampler(policy_model, tokenizer, rule)
    prompts = read_table(job.input("prompts"))
    samples = generate(
        prompts[prompts["split"].isin(splits)],
        draws,
        policy_model,
        base_model,
        tokenizer,
        sampling=rule,
        policy=policy,
        template=template,
        candidates=candidates,
        batch_size=batch_size,
        seed=seed,
        shard=shard,
        shards=shards,
        guided=guided is not None and policy_model is base_model,
    )
    spec = sampling_spec(sampling, template, base, tokenizer)
    record = {"settings": job.settings, "spec": spec, "counts": counts(samples)}
    print(record["counts"])
    if warning := cut_warning({f"the responses of {policy}": cut_share(samples)}):
        print(f"warning: {warning}")
    write_table(samples, job.outputs["samples"], record)


if __name__ == "__main__":
    run(main)
