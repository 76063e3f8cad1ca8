# λ of every palette, from the base model's pool.


rule solve:
    """λ of one palette: results/<study>/palettes/<palette>.json."""
    input:
        unpack(pool_of_palette),
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
