# The sandbox: synthetic data, and a base model trained only on it.
# Makes: world/…, models/base/base and .json.


rule world:
    """Write the sandbox's dialogues and preference pairs."""
    output:
        PATHS.world("corpus.jsonl"),
        PATHS.world("humor.jsonl"),
        [
            PATHS.world(f"hh/{value}-base/{split}.jsonl.gz")
            for value in ("helpful", "harmless")
            for split in ("train", "test")
        ],
        folder=touch(PATHS.world(".written")),
    log:
        PATHS.log("world"),
    priority: priority_of("world")
    conda:
        environment("world")
    params:
        **params("world", files=f"--output folder={PATHS.file('world')}"),
    shell:
        job("world")


rule base_model:
    """Train the sandbox's base model."""
    input:
        unpack(inputs("base_model")),
    output:
        model=directory(PATHS.model(BASE)),
        manifest=PATHS.manifest(BASE),
        metrics=PATHS.metrics(BASE),
    log:
        PATHS.log("base_model"),
    priority: priority_of("base_model")
    conda:
        environment("base_model")
    resources:
        **needs("base_model"),
    params:
        **params("base_model"),
    shell:
        job("base_model")
