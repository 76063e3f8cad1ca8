# Reward models that the study trains itself: from preference pairs, or from labelled texts.
# Needs: pairs or labelled texts, the model to start from. Makes: models/reward/{variant} and .json.


rule reward_model:
    """Train one reward model: results/<study>/models/reward/<name>.json."""
    input:
        unpack(inputs("reward_model")),
    output:
        model=directory(PATHS.model(Policy("reward", "{variant}"))),
        manifest=PATHS.manifest(Policy("reward", "{variant}")),
        metrics=PATHS.metrics(Policy("reward", "{variant}")),
    log:
        PATHS.log("reward_model", "{variant}"),
    priority: priority_of("reward_model")
    conda:
        environment("reward_model")
    resources:
        **needs("reward_model"),
    params:
        **params("reward_model", files=files_with_work("reward_model", "reward")),
        launcher=launcher,
    shell:
        job("reward_model", launch=True)
