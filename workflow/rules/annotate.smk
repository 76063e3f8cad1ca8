# Rewards of the samples: one job per scatter item scores all values, one light job per value collects
# its scores, then one table per policy. A value with `own_jobs` is scored in separate jobs.
# Needs: samples, models of the rewards. Makes: shards/{value}_{i}-of-{n}.parquet, rewards.parquet.

TOGETHER = STUDY.scored_together
ALONE = [name for name in STUDY.values if name not in TOGETHER]


if TOGETHER:

    rule score:
        """Score one scatter item with all values that have no separate jobs."""
        input:
            unpack(inputs("score")),
        output:
            scored=PATHS.scored(OF_ANY),
        log:
            PATHS.log("score", job_name(OF_ANY, i="{i}", n="{n}")),
        benchmark:
            PATHS.benchmark("score", job_name(OF_ANY, i="{i}", n="{n}"))
        priority: pool_first
        conda:
            environment("score")
        resources:
            **needs("score"),
        params:
            **params("score", files=files_with_cache),
        shell:
            job("score")

    rule annotate:
        """Collect the scores of one value for one scatter item."""
        input:
            unpack(inputs("annotate")),
        output:
            scores=PATHS.shard(OF_ANY),
        log:
            PATHS.log("annotate", job_name(OF_ANY, "{value}", "{i}", "{n}")),
        benchmark:
            PATHS.benchmark("annotate", job_name(OF_ANY, "{value}", "{i}", "{n}"))
        wildcard_constraints:
            value=one_of(TOGETHER),
        priority: pool_first
        localrule: True
        conda:
            environment("annotate")
        params:
            **params("annotate", files=files_with_cache),
        shell:
            job("annotate")


if ALONE:

    rule annotate_alone:
        """Score one scatter item with one value's reward."""
        input:
            unpack(inputs("annotate_alone")),
        output:
            scores=PATHS.shard(OF_ANY),
        log:
            PATHS.log("annotate", job_name(OF_ANY, "{value}", "{i}", "{n}")),
        benchmark:
            PATHS.benchmark("annotate", job_name(OF_ANY, "{value}", "{i}", "{n}"))
        wildcard_constraints:
            value=one_of(ALONE),
        priority: pool_first
        conda:
            environment("annotate_alone")
        resources:
            **needs("annotate_alone"),
        params:
            **params("annotate_alone", files=files_with_cache),
        shell:
            job("annotate_alone")


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
    localrule: True
    conda:
        environment("merge")
    params:
        **params("merge"),
    shell:
        job("merge")
