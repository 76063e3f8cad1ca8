# Responses of the base model (the pool that decoding chooses from, and a reference sample) and of
# every trained model, in scatter items of whole batches.


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
    conda:
        ENVIRONMENT
    resources:
        **needs("generate"),
    params:
        settings=generate_settings,
        code=code("generate"),
        files=files,
    shell:
        job("generate")
