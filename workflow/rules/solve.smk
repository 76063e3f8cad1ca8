# λ of every palette, from the base model's pool.
# A checkpoint: what compares policies goes on without those of a palette that has no solution.
# Needs: the pool with the rewards of the palette's values. Makes: palettes/lam/{palette}.json (λ),
# palettes/{palette}.json (λ with its diagnostics).


checkpoint solve:
    """λ of one palette, or why it has none: results/<study>/palettes/lam/<palette>.json."""
    input:
        unpack(inputs_of_solve),
    output:
        lam=PATHS.lam(),
    log:
        PATHS.log("solve", "{palette}"),
    priority: priority_of("solve")
    # In a group with others an infeasible palette would take them with it.
    localrule: True
    conda:
        environment("solve")
    params:
        **params("solve", files=files_of_solve),
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
