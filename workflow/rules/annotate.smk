# Rewards of the samples: a job a value and scatter item, then one table a policy.


rule annotate:
    """Score one scatter item with one value's reward."""
    input:
        samples="<results>/policies/{family}/{variant}/shards/samples_{i}-of-{n}.parquet",
        model=value_model,
    output:
        scores="<results>/policies/{family}/{variant}/shards/{value}_{i}-of-{n}.parquet",
    log:
        "<results>/logs/annotate/{family}-{variant}_{value}_{i}-of-{n}.log",
    benchmark:
        "<results>/benchmarks/annotate/{family}-{variant}_{value}_{i}-of-{n}.tsv"
    priority: pool_first
    conda:
        environment("models")
    resources:
        **needs("annotate"),
    params:
        settings=annotate_settings,
        code=lambda wildcards: reward_code("annotate", [wildcards.value]),
        files=files_with_cache,
    shell:
        job("annotate")


rule merge:
    """Join samples and rewards of one policy."""
    input:
        samples=scattered("samples"),
        scores=scattered("scores"),
    output:
        rewards="<results>/policies/{family}/{variant}/rewards.parquet",
    log:
        "<results>/logs/merge/{family}-{variant}.log",
    wildcard_constraints:
        family=SAMPLED,
    localrule: True
    conda:
        environment("light")
    params:
        settings=fixed({"values": list(STUDY.values)}),
        code=code("merge"),
        files=files,
    shell:
        job("merge")
