# Distinct prompts, with the split into those that λ is fitted on and those that policies are judged on.


rule prompts:
    """Collect the prompts."""
    input:
        sources=[
            path
            for source in STUDY.prompts.sources
            for path in [pairs_file(source.path, source.split)]
            if path
        ],
    output:
        prompts="<results>/prompts.parquet",
    log:
        "<results>/logs/prompts.log",
    localrule: True
    conda:
        environment("models")
    params:
        settings=prompt_settings,
        code=code("prompts"),
        files=files,
    shell:
        job("prompts")
