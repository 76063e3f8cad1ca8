# Responses of the base model (the pool that decoding chooses from, and a reference sample), of every
# trained model, and of guided sampling, in scatter items of whole batches.


rule generate:
    """Sample responses, one scatter item of one policy."""
    input:
        prompts="<results>/prompts.parquet",
        model=policy_model,
        base=base_model,
    output:
        samples="<results>/policies/{family}/{variant}/shards/samples_{i}-of-{n}.parquet",
    log:
        "<results>/logs/generate/{family}-{variant}_{i}-of-{n}.log",
    benchmark:
        "<results>/benchmarks/generate/{family}-{variant}_{i}-of-{n}.tsv"
    wildcard_constraints:
        family=OF_MODELS,
    priority: pool_first
    conda:
        environment("models")
    resources:
        **needs("generate"),
    params:
        settings=generate_settings,
        code=code("generate"),
        files=files,
    shell:
        job("generate")


# Policies that sample from the base model in a way of their own: one rule a family.
for family in sorted({name.split("/")[0] for name in GUIDED}):

    rule:
        """Sample in a family's own way, one scatter item of one policy."""
        name:
            f"generate_{family.replace('-', '_')}"
        input:
            prompts="<results>/prompts.parquet",
            base=base_model,
            palette=palette_of(family),
            rewards=lambda wildcards, family=family: reward_files(
                VARIANTS[f"{family}/{wildcards.variant}"]
            ),
        output:
            samples=f"<results>/policies/{family}/{{variant}}/shards/samples_{{i}}-of-{{n}}.parquet",
        log:
            f"<results>/logs/generate/{family}-{{variant}}_{{i}}-of-{{n}}.log",
        benchmark:
            f"<results>/benchmarks/generate/{family}-{{variant}}_{{i}}-of-{{n}}.tsv"
        conda:
            environment("models")
        resources:
            **needs(f"generate_{family.replace('-', '_')}"),
        params:
            settings=guided_settings(family),
            code=family_code("generate", family),
            files=files,
        shell:
            job("generate")
