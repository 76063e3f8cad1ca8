# Distinct prompts, split into those that λ is fitted on and those that policies are judged on.
# Needs: the sources of prompts. Makes: prompts.parquet.


rule prompts:
    """Collect the prompts."""
    input:
        unpack(inputs("prompts")),
    output:
        prompts=PATHS.file("prompts.parquet"),
    log:
        PATHS.log("prompts"),
    priority: priority_of("prompts")
    localrule: True
    conda:
        environment("prompts")
    resources:
        **needs("prompts"),
    params:
        **params("prompts"),
    shell:
        job("prompts")
