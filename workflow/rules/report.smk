# The report: an overview page with samples, then everything in one HTML file by Snakemake itself.
# Needs: tables, figures, palettes, manifests, config.json. Makes: overview.html, report.html.


rule overview:
    """The study on one page: verdicts, asked and realised levels, samples side by side."""
    input:
        unpack(inputs("overview")),
    output:
        page=report(
            PATHS.file("overview.html"),
            category="Overview",
            labels={"page": "the study on one page"},
            caption="../report/overview.rst",
        ),
        outcome=PATHS.table("outcome", "txt"),
    log:
        PATHS.log("overview"),
    localrule: True
    conda:
        environment("overview")
    params:
        **in_captions(),
        **params("overview"),
    shell:
        job("overview")


rule resolved_config:
    """The config as this study used it, from whatever files and options it came."""
    output:
        config=PATHS.file("config.json"),
    log:
        PATHS.log("resolved_config"),
    localrule: True
    conda:
        environment("resolved_config")
    params:
        **params("resolved_config")
        | {name: lambda wildcards: CONFIG for name in ("settings", "told")},
    shell:
        job("resolved_config")


rule report:
    """Everything in one HTML file."""
    input:
        config=PATHS.file("config.json"),
        overview=PATHS.file("overview.html"),
        tables=of_kept(shown.table_files),
        plots=of_kept(shown.plot_files),
        verdicts=VERDICTS,
    output:
        PATHS.file("report.html"),
    log:
        PATHS.log("report"),
    localrule: True
    conda:
        environment("light")
    params:
        snakefile=os.path.relpath(CHECKOUT / "Snakefile"),
        style=os.path.relpath(CHECKOUT / "workflow/report/report.css"),
        # Not as inputs: those of a fresh checkout would be newer than results that came with it.
        captions=text_hash(CHECKOUT, "workflow/report/*.*"),
    shell:
        # The running workflow holds the lock of the folder; this one only reads.
        "python -m snakemake --snakefile {params.snakefile:q} --profile none --nolock --cores 1"
        " --configfile {input.config:q} --report {output:q}"
        " --report-stylesheet {params.style:q}"
        " -- {input.overview:q} {input.tables:q} {input.plots:q} > {log:q} 2>&1"
