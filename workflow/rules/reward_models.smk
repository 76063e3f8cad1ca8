# Reward models that the study trains itself: from preference pairs, or from labelled texts.


rule reward_model:
    """Train one reward model: results/<study>/models/reward/<name>.json."""
    input:
        unpack(reward_inputs),
    output:
        model=directory("<results>/models/reward/{variant}"),
        manifest="<results>/models/reward/{variant}.json",
        metrics="<results>/models/reward/{variant}.csv",
    log:
        "<results>/logs/reward_model/{variant}.log",
    benchmark:
        "<results>/benchmarks/reward_model/{variant}.tsv"
    # Every reward, λ and trained policy waits for these.
    priority: 2
    conda:
        environment("models")
    resources:
        **needs("reward_model"),
    params:
        settings=reward_settings,
        code=code("reward_model"),
        files=files_with_work("reward", lambda wildcards: code("reward_model")),
        launcher=launcher,
    shell:
        job("reward_model", launch=True)
