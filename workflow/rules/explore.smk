# What figures show of the mathematics alone, from the pool: made only where a figure needs it.
# Needs: the pool's rewards, palettes. Makes: explore/{name}.csv, explore/jobs.dot.

for sweep in stages.SWEEPS:

    rule:
        """Solve what figures show of the mathematics: results/<study>/explore/<name>.csv."""
        name:
            f"explore_{sweep}"
        input:
            unpack(inputs("explore", name=sweep)),
        output:
            table=PATHS.explored(sweep),
        log:
            PATHS.log("explore", sweep),
        conda:
            environment("explore")
        params:
            **params("explore", name=sweep),
        shell:
            job("explore")


rule explore_jobs:
    """The jobs of the study and what they hand to each other, as Snakemake plans them."""
    output:
        graph=PATHS.explored("jobs", "dot"),
    log:
        PATHS.log("explore", "jobs"),
    localrule: True
    conda:
        environment("light")
    params:
        snakefile=os.path.relpath(CHECKOUT / "Snakefile"),
        target=PATHS.file("report.html"),
        plan=canonical(planned_jobs.job_graph_settings(STUDY)),
        rules=text_hash(CHECKOUT, "Snakefile", "workflow/rules/*.smk"),
        # Untracked, since it takes `input`: what of it the plan depends on is in `plan`.
        config=lambda wildcards, input: CONFIG,
    shell:
        # The running workflow holds the lock of the folder; this one only plans. Where the other one
        # removes a file between two looks at it, Snakemake takes it for write-protected: ask again.
        "settings=$(mktemp --suffix .json); trap 'rm -f $settings' EXIT;"
        " printf %s {params.config:q} > $settings;"
        " for attempt in 1 2 3; do"
        " python -m snakemake --snakefile {params.snakefile:q} --profile none --nolock --cores 1"
        " --configfile $settings --dag dot -- {params.target:q}"
        " > {output.graph:q} 2> {log:q} && exit;"
        " grep -q ProtectedOutputException {log:q} || exit 1;"
        " done; exit 1"
