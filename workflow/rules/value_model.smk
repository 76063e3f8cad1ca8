# The value model of the study: soft values of unfinished responses for any λ, learnt once.
# Needs: the base model, the pool with its rewards. Makes: models/value/pool, its .json and .csv,
# models/value/calibration.csv; and for each policy that moves λ policies/{family}/{variant}/lam.json.

if STUDY.value_training:

    rule value_model:
        """Train the value model: results/<study>/models/value/pool.json."""
        input:
            unpack(inputs("value_model")),
        output:
            model=directory(PATHS.model(VALUE)),
            manifest=PATHS.manifest(VALUE),
            metrics=PATHS.metrics(VALUE),
            calibration=PATHS.calibration(),
        log:
            PATHS.log("value_model"),
        priority: priority_of("value_model")
        conda:
            environment("value_model")
        resources:
            **needs("value_model"),
        params:
            **params("value_model", files=files_of_value_model),
            launcher=launcher,
        shell:
            job("value_model", launch=True)


if STUDY.steered:

    rule steer:
        """Move λ until a policy realises its palette: results/<study>/policies/<policy>/lam.json."""
        input:
            unpack(inputs("steer")),
        output:
            lam=PATHS.steered(),
        log:
            PATHS.log("steer", job_name()),
        wildcard_constraints:
            family="|".join(sorted({policy.family for policy in STUDY.steered})),
        priority: priority_of("steer")
        conda:
            environment("steer")
        resources:
            **needs("steer"),
        params:
            **params("steer"),
        shell:
            job("steer")
