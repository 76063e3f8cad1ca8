# What figures show of the mathematics alone, from the pool: made only where a figure needs it.

EXPLORED = {
    "random": lambda: {
        "values": study_config.explored(STUDY),
        "scope": STUDY.map.scope,
        "draws": STUDY.explore.draws,
        "max_norm": STUDY.explore.max_norm,
        "seed": STUDY.seed,
    },
    "fronts": lambda: {
        "values": study_config.explored(STUDY),
        "traded": study_config.traded(STUDY),
        "scope": STUDY.map.scope,
        **part(STUDY.explore, "budgets", "points"),
    },
    "rounds": lambda: part(STUDY.explore, "rounds"),
    "paths": lambda: {**part(STUDY.explore, "steps", "beyond"), "limits": LIMITS},
}
OF_PALETTES = ("rounds", "paths")

for kind, settings in EXPLORED.items():

    rule:
        """Solve what figures show of the mathematics: results/<study>/explore/<kind>.csv."""
        name:
            f"explore_{kind}"
        input:
            **pool_of(study_config.explored(STUDY)),
            palettes=STUDY_TABLES["palettes"] if kind in OF_PALETTES else [],
        output:
            table=f"<results>/explore/{kind}.csv",
        log:
            f"<results>/logs/explore/{kind}.log",
        conda:
            environment("light")
        params:
            settings=fixed({"kind": kind, "settings": settings()}),
            code=code("explore", f"explore.{kind}"),
            files=files,
        shell:
            job("explore")


rule explore_jobs:
    """The rules of the study and what they hand to each other, as Snakemake plans them."""
    output:
        graph="<results>/explore/jobs.dot",
    log:
        "<results>/logs/explore/jobs.log",
    localrule: True
    conda:
        environment("light")
    params:
        snakefile=os.path.relpath(workflow.main_snakefile),
        target=f"{RESULTS}/report.html",
        plan=plan_settings(),
        rules=rules_hash(),
        # Untracked, since it takes `input`: what of it the plan depends on stands in `plan`.
        config=lambda wildcards, input: CONFIG,
    shell:
        # The running workflow holds the lock of the folder; this one only plans.
        "settings=$(mktemp --suffix .json); trap 'rm -f $settings' EXIT;"
        " printf %s {params.config:q} > $settings;"
        " python -m snakemake --snakefile {params.snakefile:q} --profile none --nolock --cores 1"
        " --configfile $settings --rulegraph dot -- {params.target:q}"
        " > {output.graph:q} 2> {log:q}"
