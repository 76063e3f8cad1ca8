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
        finding="<results>/plots/{figure}.txt",
    log:
        "<results>/logs/plot/{figure}.log",
    localrule: True
    conda:
        environment("light")
    params:
        settings=figure_settings,
        caption=lambda wildcards: figure_module(wildcards.figure).__doc__,
        numbers=caption_numbers(),
        # The report reads the file when it renders the caption; the path is no setting.
        finding=lambda wildcards, output: Path(output.finding),
        code=lambda wildcards: code("plot", f"plots.{wildcards.figure.split('/')[0]}"),
        files=files,
    shell:
        job("plot")
