# Polyalign: align a language model to several human values.
# `snakemake --list` names the targets; config.yaml is the study.
from snakemake.utils import min_version

min_version("9.0")

# A study given by --configfile stands alone; Snakemake would merge it into this one.
if not workflow.configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"


report: "workflow/report/workflow.rst"


# docs/cluster.md says how it is built. Without Apptainer it is left out, since Snakemake refuses the
# name of a container with a space in its path.
if with_apptainer():

    container: f"{CHECKOUT}/envs/polyalign.sif"


wildcard_constraints:
    family="|".join(["base", "reward", "value", *families.NAMES]),
    variant=r"[A-Za-z0-9_.-]+",
    palette=r"[A-Za-z0-9_.-]+",
    value=one_of(STUDY.values),
    figure=shown.figure_targets(),
    i=r"\d+",
    n=r"\d+",


rule all:
    """The whole study: every policy, table and figure, and the report."""
    default_target: True
    input:
        PATHS.file("report.html"),
        of_kept(shown.table_files),
        of_kept(shown.plot_files),
        VERDICTS,
    localrule: True


rule models:
    """Every trained model."""
    input:
        of_kept(stages.trained_models),
        VERDICTS,
    localrule: True


rule palettes:
    """λ of every palette."""
    input:
        shown.palettes(STUDY),
    localrule: True


rule winrates:
    """Win rates of every policy against the base model."""
    input:
        of_kept(shown.winrate_files),
        VERDICTS,
    localrule: True


rule plots:
    """Every figure."""
    input:
        of_kept(shown.plot_files),
        VERDICTS,
    localrule: True


if STUDY.sandbox:

    include: "workflow/rules/sandbox.smk"


if STUDY.rewards:

    include: "workflow/rules/scores.smk"

else:

    include: "workflow/rules/prompts.smk"
    include: "workflow/rules/reward_models.smk"
    include: "workflow/rules/generate.smk"
    include: "workflow/rules/annotate.smk"
    include: "workflow/rules/train.smk"
    include: "workflow/rules/value_model.smk"


include: "workflow/rules/solve.smk"
include: "workflow/rules/decode.smk"
include: "workflow/rules/evaluate.smk"


if STUDY.evaluation.judge:

    include: "workflow/rules/judge.smk"


include: "workflow/rules/explore.smk"
include: "workflow/rules/plots.smk"
include: "workflow/rules/report.smk"


refuse_unknown_targets()
