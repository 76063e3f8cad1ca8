# A judge of pairs of answers: its votes on every policy, and one table of what they say.
# Needs: rewards.parquet of the policies. Makes: votes.jsonl, tables/judge.….


rule judge:
    """Votes of the judge: results/<study>/policies/<family>/<variant>/votes.jsonl."""
    input:
        unpack(inputs("judge")),
    output:
        votes=PATHS.votes(),
    log:
        PATHS.log("judge", job_name(OF_ANY)),
    localrule: True
    conda:
        environment("judge")
    params:
        **params("judge"),
    shell:
        job("judge")


rule judged:
    """Win rates by the judge beside those by rewards, and their agreement."""
    input:
        unpack(inputs("judged")),
    output:
        **table_outputs("judged"),
    log:
        PATHS.log("judged"),
    localrule: True
    conda:
        environment("judged")
    params:
        **in_captions(),
        **params("judged"),
    shell:
        job("judged")
