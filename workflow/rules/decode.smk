# Policies that choose among the candidates of the base model: one rule per family.
# Needs: the pool's rewards, λ of a palette. Makes: policies/{family}/{variant}/rewards.parquet.

for family in stages.rules_of(STUDY, "decode"):

    rule:
        """Answer by decoding: results/<study>/policies/<family>/<variant>/rewards.parquet."""
        name:
            stages.rule_name("decode", family)
        input:
            unpack(inputs("decode", family=family)),
        output:
            rewards=PATHS.rewards(Policy(family, "{variant}")),
        log:
            PATHS.log("decode", job_name(Policy(family, "{variant}"))),
        localrule: True
        conda:
            environment("decode")
        params:
            **params("decode", family=family),
        shell:
            job("decode")
