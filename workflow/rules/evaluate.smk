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
        # They record the λ that they were made with, and what was expected of it.
        decoded=[f"<results>/policies/{policy}/rewards.parquet" for policy in DECODED],
    output:
        **printed("winrates"),
        **printed("levels"),
        **printed("lambda"),
        **printed("quantiles"),
        **printed("realised_quantiles"),
        summary="<results>/tables/summary.csv",
        summary_html=table_page("summary"),
        prompts="<results>/tables/prompts.txt",
    log:
        "<results>/logs/tables.log",
    localrule: True
    conda:
        environment("light")
    params:
        **in_captions(),
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
        **printed("families"),
    log:
        "<results>/logs/families.log",
    localrule: True
    conda:
        environment("light")
    params:
        **in_captions(slack=f"{study_config.slack(STUDY):g}"),
        settings=fixed(
            {
                "title": PRINTED["families"],
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
            table="<results>/tables/mixing.csv",
            page=table_page("mixing"),
        log:
            "<results>/logs/mixing.log",
        localrule: True
        conda:
            environment("light")
        params:
            **in_captions(),
            settings=fixed(
                {
                    "title": WIDE["mixing"],
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
