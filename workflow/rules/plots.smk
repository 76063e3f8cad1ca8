# One figure, one module of polyalign.plots.figures, one job; each is a target.
# Needs: the tables that the figure names. Makes: plots/{figure}.pdf, .png and .txt (its finding).


rule plot:
    """Draw one figure: results/<study>/plots/<figure>.pdf."""
    input:
        unpack(inputs("plot")),
    output:
        pdf=PATHS.plot(),
        png=report(
            PATHS.plot(kind="png"),
            category="Figures",
            labels={"figure": "{figure}"},
            caption="../report/figure.rst",
        ),
        finding=PATHS.plot(kind="txt"),
    log:
        PATHS.log("plot", "{figure}"),
    localrule: True
    conda:
        environment("plot")
    params:
        **params("plot"),
        caption=lambda wildcards: plots.module(wildcards.figure).__doc__,
        numbers=lambda wildcards: shown.caption_numbers(kept()),
        # The report reads the file when it renders the caption; the path is not a setting.
        finding=lambda wildcards, output: Path(output.finding),
    shell:
        job("plot")
