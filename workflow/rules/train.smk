# Trained policies: one rule a family that makes models, all with the same body.

for family in sorted({name.split("/")[0] for name in MODELS}):

    rule:
        """Train one policy of the family: results/<study>/models/<family>/<variant>.json."""
        name:
            f"train_{family.replace('-', '_')}"
        input:
            unpack(training_inputs(family)),
        output:
            model=directory(f"<results>/models/{family}/{{variant}}"),
            manifest=f"<results>/models/{family}/{{variant}}.json",
            metrics=f"<results>/models/{family}/{{variant}}.csv",
        log:
            f"<results>/logs/train/{family}-{{variant}}.log",
        benchmark:
            f"<results>/benchmarks/train/{family}-{{variant}}.tsv"
        priority: 1
        conda:
            environment("models")
        resources:
            **needs(f"train_{family.replace('-', '_')}"),
        params:
            settings=lambda wildcards, family=family: canonical(
                training_settings(family, wildcards.variant)
            ),
            code=family_code("train", family),
            files=files_with_work(family, family_code("train", family)),
            launcher=launcher,
        shell:
            job("train", launch=True)
