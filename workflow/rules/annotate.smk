# Rewards of the samples: one job per value and scatter item, then one table per policy.
# Needs: samples, models of the rewards. Makes: shards/{value}_{i}-of-{n}.parquet, rewards.parquet.


rule annotate:
    """Score one scatter item with one value's reward."""
    input:
        unpack(inputs("annotate")),
    output:
        scores=PATHS.shard(OF_ANY),
    log:
        PATHS.log("annotate", job_name(OF_ANY, "{value}", "{i}", "{n}")),
    priority: priority_of("annotate")
    conda:
        environment("annotate")
    resources:
        **needs("annotate"),
    params:
        **params("annotate", files=files_with_cache),
    shell:
        job("annotate")


rule merge:
    """Join samples and rewards of one policy."""
    input:
        unpack(inputs("merge")),
    output:
        rewards=PATHS.rewards(),
    log:
        PATHS.log("merge", job_name(OF_ANY)),
    wildcard_constraints:
        family="|".join(shown.sampled_families(STUDY)),
    priority: priority_of("merge")
    localrule: True
    conda:
        environment("merge")
    params:
        **params("merge"),
    shell:
        job("merge")
