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
        environment("light")
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
        opponent=f"<results>/policies/{STUDY.evaluation.opponent}/rewards.parquet",
    output:
        winrate="<results>/policies/{family}/{variant}/winrate.csv",
    log:
        "<results>/logs/winrate/{family}-{variant}.log",
    localrule: True
    conda:
        environment("light")
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
    """Summary of the study, and its tables as CSV, Markdown and LaTeX."""
    input:
        levels=STUDY_TABLES["levels"],
        winrate=STUDY_TABLES["winrate"],
        palettes=STUDY_TABLES["palettes"],
    output:
        **printed("winrates", "win rates"),
        **printed("levels", "levels"),
        **printed("lambda", "λ of the palettes"),
        **printed("quantiles", "levels that quantile palettes ask for"),
        **printed(
            "realised_quantiles", "realised levels as quantiles of the base model"
        ),
        summary=report(
            "<results>/tables/summary.csv",
            category="Tables",
            labels={"table": "summary of all policies"},
            caption="../report/summary.rst",
        ),
    log:
        "<results>/logs/tables.log",
    localrule: True
    conda:
        environment("light")
    params:
        settings=fixed(table_settings()),
        code=code("tables"),
        files=files,
    shell:
        job("tables")


rule families:
    """Navigation efficiency and hypervolume of every family."""
    input:
        rewards=STUDY_TABLES["rewards"],
    output:
        **printed("families", "families of policies"),
    log:
        "<results>/logs/families.log",
    localrule: True
    conda:
        environment("light")
    params:
        settings=fixed(
            {
                "policies": EVALUATED,
                "values": study_config.chosen(STUDY),
                "opponent": STUDY.evaluation.opponent,
                "slack": study_config.slack(STUDY),
                **STUDY.evaluation.hypervolume.model_dump(),
                "bootstrap": STUDY.evaluation.bootstrap,
                "seed": STUDY.seed,
            }
        ),
        code=code("families"),
        files=files,
    shell:
        job("families")


if MIXED:

    rule mixing:
        """How far the levels of soups are from linear in their weights."""
        input:
            rewards=[
                f"<results>/policies/{policy}/rewards.parquet"
                for policy in mixed_policies()
            ],
        output:
            table=report(
                "<results>/tables/mixing.csv",
                category="Tables",
                labels={"table": "soups against the mean of their parts"},
                caption="../report/mixing.rst",
            ),
        log:
            "<results>/logs/mixing.log",
        localrule: True
        conda:
            environment("light")
        params:
            settings=fixed(
                {
                    "policies": mixed_policies(),
                    "parts": {
                        name: made.settings["weights"] for name, made in MIXED.items()
                    },
                    "values": list(STUDY.values),
                    "bootstrap": STUDY.evaluation.bootstrap,
                    "seed": STUDY.seed,
                }
            ),
            code=code("mixing"),
            files=files,
        shell:
            job("mixing")
