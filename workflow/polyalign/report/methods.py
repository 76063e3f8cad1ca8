"""How a study was done, in sentences made from its config, and the works that they rest on.

What is said of a family, a kind of reward or LoRA is in the docstring of its section of the config;
it comes with the facts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from polyalign.families import BASE
from polyalign.map.dual import MAX_WEIGHT, MIN_ESS

MAP = (
    "Wang, Le, Ahmed, Diao, Zhou, Baracaldo, Ding and Anwar: MAP: multi-human-value alignment "
    "palette. arXiv 2410.19198, 2024."
)
EVALUATION = (
    "Dubois, Galambosi, Liang and Hashimoto: Length-controlled AlpacaEval. arXiv 2404.04475, 2024.",
    "Holm: A simple sequentially rejective multiple test procedure. Scandinavian Journal of "
    "Statistics 6, 1979.",
    "Berger: Multiparameter hypothesis testing and acceptance sampling. Technometrics 24, 1982.",
    "Wilson: Probable inference, the law of succession, and statistical inference. Journal of the "
    "American Statistical Association 22, 1927.",
    "Mölder, Jablonski, Letcher and others: Sustainable data analysis with Snakemake. "
    "F1000Research 10:33, 2021.",
)
"""What every study rests on, whatever its policies."""


def paragraphs(facts: Mapping[str, Any]) -> list[str]:
    """Paragraphs that say how the study was done.

    Args:
        facts: `labels` (value → name, in order); `values` (value → `sentence` and `settings` of
            its reward); `rewards` (the table of scores, or None); `map`, `evaluation` (sections of
            the config); `chosen`; `test_share`; `palettes` (name → pairs of a value and its
            level); `drawn` (how many random palettes); `reward_models` (each `name`,
            `preferences`, `labels`, `source`, `settings`); `families` (each `name`, `policies`
            (how many), `sentence`, `settings`); `seed`; with a model also `model`, `prompts`
            (paths), `sampling`. Settings of these are text.
    """
    labels = facts["labels"]
    made = [f"{family['policies']} of {family['name']}" for family in facts["families"]]
    return [
        f"{_answers(facts)} {_splits(facts['test_share'])}",
        _rewards(facts),
        _palettes(facts),
        f"Policies: {_listed(made) or 'the base model alone'}. Everything reported was measured on "
        + ("the prompts of the fit." if facts["test_share"] == 0 else "test prompts."),
        *(_family(family) for family in facts["families"]),
        _evaluation(facts["evaluation"], [labels[value] for value in facts["chosen"]])
        + f" Every random choice has the seed {facts['seed']}.",
    ]


def _splits(test_share: float) -> str:
    if test_share == 0:
        return "λ was fitted on all prompts."
    return (
        "A hash of its text decides to which split a prompt belongs: the test split with a "
        f"probability of {100 * test_share:g} %, else the fit split."
    )


def citations(facts: Mapping[str, Any]) -> list[str]:
    """The works that a study rests on; `references` of the facts are those of its families."""
    return list(dict.fromkeys([MAP, *facts["references"], *EVALUATION]))


def _answers(facts: Mapping[str, Any]) -> str:
    """Where the answers to the prompts come from."""
    if facts["rewards"]:
        return f"Answers and their scores were read from {facts['rewards']}."
    rule = facts["sampling"]
    trim = (
        " Answers that this limit ended are cut back to their last whole sentence."
        if rule["trim"]
        else ""
    )
    return (
        f"Prompts were taken from {_listed(facts['prompts'])}. The base model {facts['model']} "
        f"answered each prompt {rule['candidates']} times, sampling at temperature "
        f"{rule['temperature']:g} with top-k {rule['top_k'] or 'off'} and top-p "
        f"{rule['top_p']:g}, at most {rule['max_new_tokens']} tokens.{trim} Each trained "
        f"model answered every test prompt {rule['evaluation_candidates']} times by the same rule."
    )


def _rewards(facts: Mapping[str, Any]) -> str:
    """What scores each value, and how the reward models were trained."""
    labels = facts["labels"]
    scorers: dict[str, list[str]] = {}
    for value, label in labels.items():
        scorer = facts["values"][value]
        settings = f" ({scorer['settings']})" if scorer["settings"] else ""
        scorers.setdefault(scorer["sentence"], []).append(f"{label}{settings}")
    scored = [f"{_listed(values)}: {sentence}" for sentence, values in scorers.items()]
    only = [labels[value] for value in facts["evaluation"]["evaluate_only"]]
    unused = [f"{_listed(only)}: measured, but never weighted by λ."] if only else []
    trained = [_reward_model(model) for model in facts["reward_models"]]
    return " ".join(["Each value has one reward.", *scored, *unused, *trained])


_LABELS = {"classes": "labels", "several": "labels", "ratings": "ratings"}
"""Kind of a table of labelled texts → what it is called."""


def _reward_model(model: Mapping[str, Any]) -> str:
    data = (
        f"the preference data {model['preferences']}"
        if model["preferences"]
        else f"the {_LABELS[model['labels']['kind']]} in {model['labels']['path']}"
    )
    return (
        f"The reward model {model['name']} was trained from {model['source'] or 'the base model'} "
        f"on {data} ({model['settings']})."
    )


UNREACHED = {
    "report": "is reported as such, and its policies are left out",
    "adjust": "is moved towards the base levels until it can",
    "fail": "stops the study",
}
"""What happens to a palette that has no solution."""


def _palettes(facts: Mapping[str, Any]) -> str:
    """What was asked, how λ was found, and when a palette counts as supported."""
    labels, section = facts["labels"], facts["map"]
    asked = [
        f"{name} ({', '.join(f'{labels[value]} {level}' for value, level in levels)})"
        for name, levels in facts["palettes"].items()
    ]
    dual = {
        "prompt": "one dual over all prompts with one normalisation per prompt",
        "joint": "one dual over all samples together",
        "auto": "one normalisation per prompt where there are 8 candidates or more, else one over "
        "all samples together",
    }[section["scope"]]
    if facts["drawn"]:
        asked.append(
            f"{facts['drawn']} random palettes (each on the way from the base levels to a point "
            "drawn uniformly between these and the highest levels, as far as it is supported times "
            "a random share, uniform in volume)"
        )
    outcomes: dict[str, list[str]] = {}
    for name, outcome in section["on_infeasible"].items():
        outcomes.setdefault(outcome, []).append(name)
    adjusted = " ".join(
        f"A palette{f' ({names})' if len(outcomes) > 1 else ''} that cannot be reached "
        f"{UNREACHED[outcome]}."
        for outcome, names in ((one, ", ".join(of)) for one, of in outcomes.items())
    )
    resamples = section["resamples"]
    ends = f"{resamples} resamples of the prompts" if resamples else "the delta method"
    return (
        f"Palettes: {'; '.join(asked) or 'none'}. λ of each palette maximises the concave dual of "
        f"MAP on the fit prompts ({dual}) by a projected Newton method, and is certified by its "
        f"optimality conditions. {_support(section)} {adjusted} Intervals of λ are from {ends}."
    )


def _support(section: Mapping[str, Any]) -> str:
    """When a palette counts as supported."""
    ess, weight, norm = (section[key] for key in ("min_ess", "max_weight", "max_norm"))
    least = (
        f"{ess:g}"
        if ess is not None
        else f"{MIN_ESS['prompt']:g} per prompt, or {MIN_ESS['joint']:g} over all samples together"
    )
    most = (
        f"{weight:g}"
        if weight is not None
        else f"{MAX_WEIGHT['prompt']:g} of a prompt's weight, or {MAX_WEIGHT['joint']:g} of all"
    )
    limits = [
        f"its effective sample size is at least {least}",
        f"its largest weight is at most {most}",
        f"its KL is at most {100 * section['max_kl_share']:g} % of the KL that choosing among the "
        "candidates can spend",
        *([f"the sum of λ is at most {norm:g}"] if norm is not None else []),
    ]
    return f"A palette is supported if {'; '.join(limits[:-1])}; and {limits[-1]}."


def _evaluation(section: Mapping[str, Any], chosen: Sequence[str]) -> str:
    """How policies are compared."""
    opponent = section["opponent"]
    against = "the base model" if opponent == BASE.name else opponent
    return (
        f"Win rates are P(win) + ½ P(tie) against {against} over all pairs of answers to the same "
        "prompt; at equal length by a logistic regression on the difference in length. Standard "
        "errors and 95 % intervals are clustered by prompt, intervals from "
        f"{section['bootstrap']} bootstrap resamples. Single values are tested one-sided with "
        f"Holm's correction; better in all of {_listed(chosen)} is an intersection-union test at "
        "5 %. A policy is navigable if its win rates in all of them are at least ½ - "
        f"{section['slack']:g}."
    )


def _family(family: Mapping[str, Any]) -> str:
    """What a family is, and its settings."""
    return f"{family['name']}: {family['sentence']} Settings: {family['settings']}."


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last
