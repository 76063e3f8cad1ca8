# Policies that choose among the candidates of the base model: one rule a family.

for family in sorted({name.split("/")[0] for name in DECODED}):

    rule:
        """Answer by decoding: results/<study>/policies/<family>/<variant>/rewards.parquet."""
        name:
            f"decode_{family.replace('-', '_')}"
        input:
            pool="<results>/policies/base/pool/rewards.parquet",
            palette=palette_of(family),
        output:
            rewards=f"<results>/policies/{family}/{{variant}}/rewards.parquet",
        log:
            f"<results>/logs/decode/{family}-{{variant}}.log",
        benchmark:
            f"<results>/benchmarks/decode/{family}-{{variant}}.tsv"
        localrule: not loads_model("decode", f"families.{family.replace('-', '_')}")
        conda:
            environment(
                "models"
                if loads_model("decode", f"families.{family.replace('-', '_')}")
                else "light"
            )
        params:
            settings=lambda wildcards, family=family: canonical(
                {
                    "family": family,
                    "policy": f"{family}/{wildcards.variant}",
                    "seed": STUDY.seed,
                    "settings": VARIANTS[f"{family}/{wildcards.variant}"].settings,
                }
            ),
            code=code("decode", f"families.{family.replace('-', '_')}"),
            files=files,
        shell:
            job("decode")
