# The sandbox: a small world, and a base model that knows nothing else.


rule world:
    """Write the sandbox's dialogues and preference pairs."""
    output:
        "<results>/world/corpus.jsonl",
        "<results>/world/humor.jsonl",
        [
            f"<results>/world/hh/{value}-base/{split}.jsonl.gz"
            for value in ("helpful", "harmless")
            for split in ("train", "test")
        ],
        folder=touch("<results>/world/.written"),
    log:
        "<results>/logs/world.log",
    conda:
        environment("light")
    params:
        settings=fixed(
            {
                "seed": STUDY.seed,
                **part(STUDY.sandbox, "dialogues", "pairs"),
            }
        ),
        code=code("world"),
        files=f"--output folder={RESULTS}/world",
    shell:
        job("world")


rule base_model:
    """Train the sandbox's base model."""
    input:
        corpus="<results>/world/corpus.jsonl",
    output:
        model=directory("<results>/models/base/base"),
        manifest="<results>/models/base/base.json",
        metrics="<results>/models/base/base.csv",
    log:
        "<results>/logs/base_model.log",
    benchmark:
        "<results>/benchmarks/base_model.tsv"
    conda:
        environment("models")
    # All of the sandbox waits for this job. Torch takes two threads also where there is one core:
    # another number of them would be another model.
    threads: 2
    resources:
        **needs("base_model"),
    params:
        settings=fixed(
            {
                "seed": STUDY.seed,
                "steps": STUDY.sandbox.steps,
                "threads": 2,
                "template": STUDY.prompts.template,
            }
        ),
        code=code("base_model"),
        files=files,
    shell:
        job("base_model")
