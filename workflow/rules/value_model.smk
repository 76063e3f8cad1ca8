# The value model of the study: soft values of unfinished responses for any λ, learnt once.
# Needs: the base model, the pool with its rewards. Makes: models/value/pool, its .json and .csv,
# models/value/calibration.csv.

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
