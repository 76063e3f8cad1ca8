# Trained policies: one rule per family that makes models, all with the same body.
# Needs: the base model, and λ, prompts and rewards, or pairs, or other models.
# Makes: models/{family}/{variant}, its manifest (.json) and its metrics (.csv).

for family in stages.rules_of(STUDY, "train"):

    rule:
        """Train one policy of the family: results/<study>/models/<family>/<variant>.json."""
        name:
            stages.rule_name("train", family)
        input:
            unpack(inputs("train", family=family)),
        output:
            model=directory(PATHS.model(Policy(family, "{variant}"))),
            manifest=PATHS.manifest(Policy(family, "{variant}")),
            metrics=PATHS.metrics(Policy(family, "{variant}")),
        log:
            PATHS.log("train", job_name(Policy(family, "{variant}"))),
        priority: priority_of("train", family=family)
        conda:
            environment("train")
        resources:
            **needs("train", family=family),
        params:
            **params(
                "train",
                files=files_with_work("train", family, family=family),
                family=family,
            ),
            launcher=launcher,
        shell:
            job("train", launch=True)
