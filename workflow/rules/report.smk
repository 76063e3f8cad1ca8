# The report: an overview page with samples, then everything in one HTML file by Snakemake itself.


rule overview:
    """The study on one page: verdicts, asked and realised levels, samples side by side."""
    input:
        summary="<results>/tables/summary.csv",
        families="<results>/tables/families.csv",
        palettes=STUDY_TABLES["palettes"],
        manifests=judged_manifests(),
        rewards=[f"{RESULTS}/policies/{policy}/rewards.parquet" for policy in EVALUATED],
    output:
        page=report(
            "<results>/overview.html",
            category="Overview",
            labels={"page": "the study on one page"},
            caption="../report/overview.rst",
        ),
    log:
        "<results>/logs/overview.log",
    localrule: True
    conda:
        environment("light")
    params:
        **in_captions(),
        settings=fixed(page_settings()),
        code=code("overview"),
        files=files,
    shell:
        job("overview")


rule resolved_config:
    """The config as this study used it, from whatever files and options it came."""
    output:
        config="<results>/config.json",
    log:
        "<results>/logs/resolved_config.log",
    localrule: True
    conda:
        environment("light")
    params:
        settings=lambda wildcards: CONFIG,
        code=code("resolved_config"),
        files=files,
    shell:
        job("resolved_config")


rule report:
    """Everything in one HTML file."""
    input:
        config="<results>/config.json",
        overview="<results>/overview.html",
        tables=TABLES,
        plots=PLOTS,
    output:
        "<results>/report.html",
    log:
        "<results>/logs/report.log",
    conda:
        environment("light")
    params:
        snakefile=os.path.relpath(workflow.main_snakefile),
        # Not as inputs: those of a fresh checkout would be newer than results that came with it.
        captions=captions_hash(),
    shell:
        # The running workflow holds the lock of the folder; this one only reads.
        "python -m snakemake --snakefile {params.snakefile:q} --profile none --nolock --cores 1"
        " --configfile {input.config:q} --report {output:q}"
        " -- {input.overview:q} {input.tables:q} {input.plots:q} > {log:q} 2>&1"
