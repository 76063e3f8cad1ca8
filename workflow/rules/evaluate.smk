# Levels and win rates of every policy on the test split, and the study's tables.


rule levels:
    """Levels of one policy: results/<study>/policies/<family>/<variant>/levels.csv."""
    input:
        rewards="<results>/policies/{family}/{variant}/rewards.parquet",
        base="<results>/policies/base/base/rewards.parquet",
    output:
        levels="<results>/policies/{family}/{variant}/levels.csv",
    log:
        "<results>/logs/levels/{family}-{variant}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=fixed(
            {
                "values": list(STUDY.values),
                "max_new_tokens": max_new_tokens(),
                "bootstrap": STUDY.evaluation.bootstrap,
                "seed": STUDY.seed,
            }
        ),
        code=code("levels"),
        files=files,
    shell:
        job("levels")


rule winrate:
    """Win rates of one policy: results/<study>/policies/<family>/<variant>/winrate.csv."""
    input:
        rewards="<results>/policies/{family}/{variant}/rewards.parquet",
        base="<results>/policies/base/base/rewards.parquet",
    output:
        winrate="<results>/policies/{family}/{variant}/winrate.csv",
    log:
        "<results>/logs/winrate/{family}-{variant}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=fixed(
            {
                "values": list(STUDY.values),
                "bootstrap": STUDY.evaluation.bootstrap,
                "seed": STUDY.seed,
            }
        ),
        code=code("winrate"),
        files=files,
    shell:
        job("winrate")


rule tables:
    """Summary of the study and tables of win rates."""
    input:
        **STUDY_TABLES,
    output:
        summary=report(
            "<results>/tables/summary.csv",
            category="Tables",
            labels={"table": "summary of all policies"},
            caption="../report/summary.rst",
        ),
        csv=report(
            "<results>/tables/winrates.csv",
            category="Tables",
            labels={"table": "win rates"},
            caption="../report/winrates.rst",
        ),
        markdown="<results>/tables/winrates.md",
        latex="<results>/tables/winrates.tex",
    log:
        "<results>/logs/tables.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=fixed(study_settings()),
        code=code("tables"),
        files=files,
    shell:
        job("tables")
