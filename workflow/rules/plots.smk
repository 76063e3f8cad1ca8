# One figure, one module of polyalign.plots, one job; each is a target of its own.


rule plot:
    """Draw one figure: results/<study>/plots/<figure>.pdf."""
    input:
        unpack(figure_inputs),
    output:
        pdf="<results>/plots/{figure}.pdf",
        png=report(
            "<results>/plots/{figure}.png",
            category="Figures",
            labels={"figure": "{figure}"},
            caption="../report/figure.rst",
        ),
    log:
        "<results>/logs/plot/{figure}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: canonical(
            {"figure": wildcards.figure, **study_settings()}
        ),
        caption=lambda wildcards: figure(wildcards.figure).__doc__,
        code=lambda wildcards: code("plot", f"plots.{wildcards.figure}"),
        files=files,
    shell:
        job("plot")
