# Levels and win rates of every policy on the test split, and the study's tables.
# Needs: rewards.parquet of the policies, palettes. Makes: levels.csv, winrate.csv, tables/….


rule levels:
    """Levels of one policy: results/<study>/policies/<family>/<variant>/levels.csv."""
    input:
        unpack(inputs("levels")),
    output:
        levels=PATHS.levels(),
    log:
        PATHS.log("levels", job_name(OF_ANY)),
    localrule: True
    conda:
        environment("levels")
    params:
        **params("levels"),
    shell:
        job("levels")


rule winrate:
    """Win rates of one policy: results/<study>/policies/<family>/<variant>/winrate.csv."""
    input:
        unpack(inputs("winrate")),
    output:
        winrate=PATHS.winrate(),
    log:
        PATHS.log("winrate", job_name(OF_ANY)),
    localrule: True
    conda:
        environment("winrate")
    params:
        **params("winrate"),
    shell:
        job("winrate")


rule tables:
    """Summary of the study, and its tables as CSV, Markdown and LaTeX."""
    input:
        unpack(inputs("tables")),
    output:
        **table_outputs("tables"),
        prompts=PATHS.table("prompts", "txt"),
    log:
        PATHS.log("tables"),
    localrule: True
    conda:
        environment("tables")
    params:
        **in_captions(),
        **params("tables"),
    shell:
        job("tables")


rule families:
    """Navigation efficiency and hypervolume of every family."""
    input:
        unpack(inputs("families")),
    output:
        **table_outputs("families"),
    log:
        PATHS.log("families"),
    localrule: True
    conda:
        environment("families")
    params:
        **in_captions(),
        **params("families"),
    shell:
        job("families")


if STUDY.repeated:

    rule seeds:
        """How far the numbers of policies that are trained with several seeds depend on the seed."""
        input:
            unpack(inputs("seeds")),
        output:
            table=PATHS.table("seeds"),
            page=table_page("seeds"),
        log:
            PATHS.log("seeds"),
        localrule: True
        conda:
            environment("seeds")
        params:
            **in_captions(),
            **params("seeds"),
        shell:
            job("seeds")


if shown.soups(STUDY):

    rule mixing:
        """How far the levels of soups are from linear in their weights."""
        input:
            unpack(inputs("mixing")),
        output:
            table=PATHS.table("mixing"),
            page=table_page("mixing"),
        log:
            PATHS.log("mixing"),
        localrule: True
        conda:
            environment("mixing")
        params:
            **in_captions(),
            **params("mixing"),
        shell:
            job("mixing")
