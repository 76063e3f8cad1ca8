# λ of every palette, from the base model's pool.


rule solve:
    """Solve the dual of one palette."""
    input:
        unpack(lambda wildcards: pool_of_palette(wildcards.palette)),
    output:
        palette="<results>/palettes/{palette}.json",
    log:
        "<results>/logs/solve/{palette}.log",
    priority: 2
    conda:
        ENVIRONMENT
    params:
        settings=solve_settings,
        code=code("solve"),
        files=files,
    shell:
        job("solve")
