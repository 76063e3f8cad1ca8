# λ of every palette, from the base model's pool.


rule solve:
    """λ of one palette: results/<study>/palettes/<palette>.json."""
    input:
        unpack(pool_of_palette),
    output:
        lam="<results>/palettes/lam/{palette}.json",
    log:
        "<results>/logs/solve/{palette}.log",
    priority: 2
    # In a group with others an infeasible palette would take them with it.
    localrule: True
    conda:
        environment("light")
    params:
        settings=solve_settings,
        code=code("solve"),
        files=files,
    shell:
        job("solve")


rule diagnose:
    """Judge λ of one palette: verdict, intervals, support, levels on the test prompts."""
    input:
        unpack(pool_of_palette),
        lam="<results>/palettes/lam/{palette}.json",
    output:
        palette="<results>/palettes/{palette}.json",
    log:
        "<results>/logs/diagnose/{palette}.log",
    conda:
        environment("light")
    params:
        settings=fixed(
            {"limits": LIMITS, "resamples": STUDY.map.resamples, "seed": STUDY.seed}
        ),
        code=code("diagnose"),
        files=files,
    shell:
        job("diagnose")
