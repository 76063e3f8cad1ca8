# A study from scores alone: the table that `rewards` names is the base model's pool.
# Needs: that table. Makes: rewards.parquet of base/pool and base/base.


rule import_rewards:
    """Read the given scores; part of the candidates becomes the reference sample."""
    input:
        unpack(inputs("import_rewards")),
    output:
        pool=PATHS.rewards(POOL),
        reference=PATHS.rewards(BASE),
    log:
        PATHS.log("import_rewards"),
    priority: priority_of("import_rewards")
    conda:
        environment("import_rewards")
    params:
        **params("import_rewards"),
    shell:
        job("import_rewards")
