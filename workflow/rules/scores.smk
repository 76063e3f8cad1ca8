# A study from scores alone: the table that `rewards` names is the base model's pool.


rule import_rewards:
    """Read the given scores; part of the candidates becomes the reference sample."""
    input:
        table=STUDY.rewards,
    output:
        pool="<results>/policies/base/pool/rewards.parquet",
        reference="<results>/policies/base/base/rewards.parquet",
    log:
        "<results>/logs/import_rewards.log",
    conda:
        environment("light")
    params:
        settings=fixed(
            {
                "columns": study_config.columns(STUDY),
                "test_share": STUDY.prompts.test_share,
            }
        ),
        code=code("import_rewards"),
        files=files,
    shell:
        job("import_rewards")
