# λ of every palette, from the base model's pool.
# Needs: the pool with the rewards of the palette's values. Makes: palettes/lam/{palette}.json (λ),
# palettes/{palette}.json (λ with its diagnostics).


rule solve:
    """λ of one palette: results/<study>/palettes/<palette>.json."""
    input:
        unpack(inputs("solve")),
    output:
        lam=PATHS.lam(),
    log:
        PATHS.log("solve", "{palette}"),
    priority: 2
    # In a group with others an infeasible palette would take them with it.
    localrule: True
    conda:
        environment("solve")
    params:
        **params("solve"),
    shell:
        job("solve")


rule diagnose:
    """Judge λ of one palette: verdict, intervals, support, levels on the test prompts."""
    input:
        unpack(inputs("diagnose")),
    output:
        palette=PATHS.palette(),
    log:
        PATHS.log("diagnose", "{palette}"),
    conda:
        environment("diagnose")
    params:
        **params("diagnose"),
    shell:
        job("diagnose")
