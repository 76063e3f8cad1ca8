"""How a study was done, in sentences made from its config, and the works that they rest on."""

from collections.abc import Iterable, Mapping
from typing import Any

CITATIONS = {
    "map": "Wang, Le, Ahmed, Diao, Zhou, Baracaldo, Ding and Anwar: MAP: multi-human-value "
    "alignment palette. arXiv 2410.19198, 2024.",
    "dpo": "Rafailov, Sharma, Mitchell, Ermon, Manning and Finn: Direct preference optimization. "
    "arXiv 2305.18290, 2023.",
    "rloo": "Ahmadian, Cremer, Gallé, Fadaee, Kreutzer, Pietquin, Üstün and Hooker: Back to "
    "basics: revisiting REINFORCE style optimization for learning from human feedback in LLMs. "
    "arXiv 2402.14740, 2024.",
    "ppo": "Schulman, Wolski, Dhariwal, Radford and Klimov: Proximal policy optimization "
    "algorithms. arXiv 1707.06347, 2017.",
    "soup": "Ramé, Couairon, Shukor, Dancette, Gaya, Soulier and Cord: Rewarded soups. "
    "arXiv 2306.04488, 2023.",
    "length": "Dubois, Galambosi, Liang and Hashimoto: Length-controlled AlpacaEval. "
    "arXiv 2404.04475, 2024.",
    "holm": "Holm: A simple sequentially rejective multiple test procedure. Scandinavian Journal "
    "of Statistics 6, 1979.",
    "berger": "Berger: Multiparameter hypothesis testing and acceptance sampling. Technometrics "
    "24, 1982.",
    "wilson": "Wilson: Probable inference, the law of succession, and statistical inference. "
    "Journal of the American Statistical Association 22, 1927.",
    "snakemake": "Mölder, Jablonski, Letcher and others: Sustainable data analysis with Snakemake. "
    "F1000Research 10:33, 2021.",
}
SOURCES = {
    "sequence_classifier": "the output of the classifier {model}",
    "log_likelihood": "the mean log-likelihood of a token under {model}",
    "embedding_similarity": "the similarity of prompt and answer in the embedding of {model}",
    "ngram_diversity": "the share of distinct n-grams",
    "column": "a column of the table of scores",
}


def methods(facts: Mapping[str, Any]) -> list[str]:
    """Paragraphs that say how the study was done.

    Args:
        facts: `labels` (value → name, in order), `values` (value → what its reward depends on),
            `rewards` (the table of scores, or None), `map`, `evaluation` (sections of the config),
            `chosen`, `test_share`, `families` (pairs of a family and its number of policies),
            `seed`; with a model also `model`, `prompts` (paths), `sampling`.
    """
    labels = facts["labels"]
    share = 100 * facts["test_share"]
    if facts["rewards"]:
        start = f"Answers and their scores were read from {facts['rewards']}."
    else:
        rule = facts["sampling"]
        start = (
            f"Prompts were taken from {_listed(facts['prompts'])}. The base model "
            f"{facts['model']} answered each {rule['candidates']} times, sampling at temperature "
            f"{rule['temperature']:g} with top-k {rule['top_k'] or 'off'} and top-p "
            f"{rule['top_p']:g}, at most {rule['max_new_tokens']} tokens. Each trained model "
            f"answered every test prompt {rule['evaluation_candidates']} times by the same rule."
        )
    split = (
        f"By a hash of its text, each prompt belongs to the fit split or, with a probability of "
        f"{share:g} %, to the test split."
    )
    scored = [f"{label} is {_source(facts['values'][name])}" for name, label in labels.items()]
    only = facts["evaluation"]["evaluate_only"]
    unused = f" {_listed([labels[v] for v in only])}: measured, never in λ." if only else ""
    scope = facts["map"]["scope"]
    dual = {
        "prompt": "one dual over all prompts with one normalisation a prompt",
        "joint": "one dual over all samples together",
        "auto": "one normalisation a prompt where there are 8 candidates or more, else over all "
        "samples together",
    }[scope]
    made = [f"{number} of {family}" for family, number in facts["families"]]
    evaluation = facts["evaluation"]
    against = evaluation["opponent"].replace("base/base", "the base model")
    return [
        f"{start} {split}",
        f"Each value has one reward. {'; '.join(scored)}.{unused}",
        f"λ of each palette maximises the concave dual of MAP on the fit prompts ({dual}), by a "
        "projected Newton method, and is certified by its optimality conditions.",
        f"Policies: {_listed(made) or 'the base model alone'}. Everything reported was measured on "
        "test prompts.",
        f"Win rates are P(win) + ½ P(tie) against {against} over all pairs of answers to a prompt; "
        "at equal length by a logistic regression on the difference in length. Standard errors and "
        f"95 % intervals are clustered by prompt, intervals from {evaluation['bootstrap']} "
        "bootstrap resamples. Single values are tested one-sided with Holm's correction; better in "
        f"all of {_listed([labels[value] for value in facts['chosen']])} is an intersection-union "
        f"test at 5 %. Every random choice has the seed {facts['seed']}.",
    ]


def citations(families: Iterable[str]) -> list[str]:
    """The works that a study with these families rests on."""
    always = ("length", "holm", "berger", "wilson", "snakemake")
    return [CITATIONS[key] for key in ("map", *families, *always) if key in CITATIONS]


def _source(spec: Mapping[str, Any]) -> str:
    text = SOURCES.get(spec["kind"], f"a reward of the kind {spec['kind']}")
    return text.format(model=spec.get("model"))


def _listed(names: list[str]) -> str:
    """`a, b and c`."""
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last
