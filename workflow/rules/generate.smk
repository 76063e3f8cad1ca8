# Responses of the base model (the pool that decoding chooses from, and a reference sample), of every
# trained model, and of guided sampling, in scatter items of whole batches.
# Needs: prompts, models, λ for guided sampling. Makes: shards/samples_{i}-of-{n}.parquet.


rule generate:
    """Sample responses, one scatter item of one policy."""
    input:
        unpack(inputs("generate")),
    output:
        samples=PATHS.samples(OF_ANY),
    log:
        PATHS.log("generate", job_name(OF_ANY, i="{i}", n="{n}")),
    wildcard_constraints:
        family="|".join(shown.model_families(STUDY)),
    priority: priority_of("generate")
    conda:
        environment("generate")
    resources:
        **needs("generate"),
    params:
        **params("generate"),
    shell:
        job("generate")


# Policies that use a custom sampling procedure: one rule per family.
for family in stages.rules_of(STUDY, "generate_guided"):

    rule:
        """Sample by a family's own procedure, one scatter item of one policy."""
        name:
            stages.rule_name("generate_guided", family)
        input:
            unpack(inputs("generate_guided", family=family)),
        output:
            samples=PATHS.samples(Policy(family, "{variant}")),
        log:
            PATHS.log(
                "generate", job_name(Policy(family, "{variant}"), i="{i}", n="{n}")
            ),
        priority: priority_of("generate_guided", family=family)
        conda:
            environment("generate_guided")
        resources:
            **needs("generate_guided", family=family),
        params:
            **params("generate_guided", family=family),
        shell:
            job("generate_guided")
