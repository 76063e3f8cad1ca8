"""How a study was done, in sentences made from its config, and the works that they rest on."""

from collections.abc import Callable, Mapping
from typing import Any

CITATIONS = {
    "map": "Wang, Le, Ahmed, Diao, Zhou, Baracaldo, Ding and Anwar: MAP: multi-human-value "
    "alignment palette. arXiv 2410.19198, 2024.",
    "dpo": "Rafailov, Sharma, Mitchell, Ermon, Manning and Finn: Direct preference optimization. "
    "arXiv 2305.18290, 2023.",
    "best-of": "Stiennon, Ouyang, Wu, Ziegler, Lowe, Voss, Radford, Amodei and Christiano: "
    "Learning to summarize from human feedback. arXiv 2009.01325, 2020.",
    "morl-d": "Roijers, Vamplew, Whiteson and Dazeley: A survey of multi-objective sequential "
    "decision-making. Journal of Artificial Intelligence Research 48, 2013.",
    "token-d": "Khanov, Burapacheep and Li: ARGS: alignment as reward-guided search. "
    "arXiv 2402.01694, 2024.",
    "rloo": "Ahmadian, Cremer, Gallé, Fadaee, Kreutzer, Pietquin, Üstün and Hooker: Back to "
    "basics: revisiting REINFORCE style optimization for learning from human feedback in LLMs. "
    "arXiv 2402.14740, 2024.",
    "grpo": "Shao, Wang, Zhu, Xu, Song, Bi, Zhang, Zhang, Li, Wu and Guo: DeepSeekMath: pushing "
    "the limits of mathematical reasoning in open language models. arXiv 2402.03300, 2024.",
    "ppo": "Schulman, Wolski, Dhariwal, Radford and Klimov: Proximal policy optimization "
    "algorithms. arXiv 1707.06347, 2017.",
    "soup": "Ramé, Couairon, Shukor, Dancette, Gaya, Soulier and Cord: Rewarded soups. "
    "arXiv 2306.04488, 2023.",
    "lora": "Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen: LoRA: low-rank adaptation of "
    "large language models. arXiv 2106.09685, 2021.",
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
            `chosen`, `test_share`, `palettes` (name → pairs of a value and its level),
            `reward_models` (name → settings), `families` (triples of a family, its number of
            policies and its settings), `seed`; with a model also `model`, `prompts` (paths),
            `sampling`.
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
    made = [f"{number} of {family}" for family, number, _ in facts["families"]]
    how = [_family(family, settings, labels) for family, _, settings in facts["families"]]
    trained = [_reward_model(name, made) for name, made in facts["reward_models"].items()]
    asked = [
        f"{name} ({', '.join(f'{labels[value]} {level}' for value, level in levels)})"
        for name, levels in facts["palettes"].items()
    ]
    evaluation = facts["evaluation"]
    against = evaluation["opponent"].replace("base/base", "the base model")
    return [
        f"{start} {split}",
        " ".join([f"Each value has one reward. {'; '.join(scored)}.{unused}", *trained]),
        f"Palettes: {'; '.join(asked) or 'none'}. λ of each palette maximises the concave dual of "
        f"MAP on the fit prompts ({dual}), by a "
        "projected Newton method, and is certified by its optimality conditions. "
        f"{_support(facts['map'])}",
        f"Policies: {_listed(made) or 'the base model alone'}. Everything reported was measured on "
        "test prompts.",
        *how,
        f"Win rates are P(win) + ½ P(tie) against {against} over all pairs of answers to a prompt; "
        "at equal length by a logistic regression on the difference in length. Standard errors and "
        f"95 % intervals are clustered by prompt, intervals from {evaluation['bootstrap']} "
        "bootstrap resamples. Single values are tested one-sided with Holm's correction; better in "
        f"all of {_listed([labels[value] for value in facts['chosen']])} is an intersection-union "
        "test at 5 %. A policy is navigable if its win rates in all of them are at least ½ - "
        f"{evaluation['slack']:g}. Every random choice has the seed {facts['seed']}.",
    ]


def citations(facts: Mapping[str, Any]) -> list[str]:
    """The works that a study rests on; `facts` as for `methods`."""
    always = ("length", "holm", "berger", "wilson", "snakemake")
    keys = ["map"]
    for family, _, settings in facts["families"]:
        keys.append("grpo" if settings.get("algorithm") == "grpo" else family)
    trained = [*(made for _, _, made in facts["families"]), *facts["reward_models"].values()]
    trained += [made["labelled"] for made in trained if made.get("labelled")]
    if any(made.get("lora") for made in trained):
        keys.append("lora")
    return [CITATIONS[key] for key in (*keys, *always) if key in CITATIONS]


def _support(section: Mapping[str, Any]) -> str:
    """When a palette counts as supported, and what becomes of one that cannot be reached."""
    ess, weight, norm = (section[key] for key in ("min_ess", "max_weight", "max_norm"))
    least = f"{ess:g}" if ess is not None else "2 a prompt, or 100 over all samples together,"
    most = f"{weight:g}" if weight is not None else "0.75 of a prompt's weight, or 0.1 of all,"
    limits = [
        f"its effective sample size is {least} at least",
        f"its largest weight {most} at most",
        f"its KL at most {100 * section['max_kl_share']:g} % of what choosing among the candidates "
        "can spend",
        *([f"the sum of λ at most {norm:g}"] if norm is not None else []),
    ]
    adjusted = {
        "fail": "one that cannot be reached stops the study",
        "adjust": "one that cannot be reached is moved towards the base levels until it is",
    }[section["on_infeasible"]]
    resamples = section["resamples"]
    ends = f"{resamples} resamples of the prompts" if resamples else "the delta method"
    return (
        f"A palette is supported if {_listed(limits)}; {adjusted}. Intervals of λ are from {ends}."
    )


def _family(family: str, settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """How the policies of a family are made, in a sentence; by its plain settings if it is new."""
    if family in FAMILIES:
        return f"{family}: {FAMILIES[family](settings, labels)}."
    plain = [f"{name} {made}" for name, made in settings.items() if made is not None]
    return f"{family}: {', '.join(plain)}."


def _draws(settings: Mapping[str, Any]) -> str:
    number = settings["draws"]
    return "one draw a test prompt" if number == 1 else f"{number} draws a test prompt"


def _whose(settings: Mapping[str, Any], labels: Mapping[str, str], which: str) -> str:
    """Whose λ is taken: that of palettes, and what the config itself says."""
    given = [
        f"{name} = {', '.join(f'{labels[v]} {lam[v]:g}' for v in labels if v in lam)}"
        for name, lam in settings["lam"].items()
    ]
    palettes = [f"{which} of {_listed(settings['palettes'])}"] if settings["palettes"] else []
    return "; ".join([*palettes, *([f"λ as given: {'; '.join(given)}"] if given else [])])


def _map_d(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    return (
        "one of the base model's candidates of a prompt is drawn with weights exp(λ·r), "
        f"{_draws(settings)}; {_whose(settings, labels, 'λ')}"
    )


def _morl_d(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    values = _listed([labels[value] for value in settings["values"] or labels])
    return (
        f"as map-d, with {settings['count']} random λ over {values}, uniform in direction and in "
        f"their sum up to {settings['cap']:g}, {_draws(settings)}"
    )


def _best_of(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    return (
        "the candidate of largest λ·r is taken, which spends all KL that a choice can; λ of "
        f"{_listed(settings['palettes'])}"
    )


def _token_d(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    every = settings["interval"]
    when = "every token" if every == 1 else f"one token in {every}"
    return (
        f"the base model samples, and {when} is drawn among the {settings['top_k']} likeliest "
        "with weights p0 exp(λ·r), r being the rewards of the text so far; "
        f"{_whose(settings, labels, 'λ for training')}"
    )


def _dpo(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    parts = []
    if settings["mixtures"]:
        mixed = [
            f"{name} ({_listed([f'{share:g} {data}' for data, share in shares.items()])})"
            for name, shares in settings["mixtures"].items()
        ]
        betas = _listed([f"{beta:g}" for beta in settings["beta"]])
        parts.append(
            f"direct preference optimisation with β = {betas} on {settings['pairs']} preference "
            f"pairs of {_listed(mixed)}, {_passes(settings)}, {_training(settings, 'pairs')}"
        )
    if labelled := settings["labelled"]:
        parts.append(
            f"for {_listed(labelled['palettes'])} with β = 1 on at most {labelled['pairs']} pairs "
            "of the base model's candidates, labelled by λ·r with λ for training, "
            f"{_passes(labelled)}, {_training(labelled, 'pairs')}"
        )
    return "; ".join(parts)


def _soup(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    soups = [
        f"{name} = {' + '.join(f'{weight:g} {policy}' for policy, weight in weights.items())}"
        for name, weights in settings["models"].items()
    ]
    return f"parameters are averaged: {'; '.join(soups)}"


def _rloo(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    grpo = settings["algorithm"] == "grpo"
    name = "GRPO, with the KL in the loss" if grpo else "RLOO, with the KL in the reward"
    return (
        f"{name}, {settings['steps']} steps, {settings['generations']} responses to a prompt, "
        f"{_aim(settings)}"
    )


def _ppo(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    return (
        f"PPO, {settings['steps']} steps, responses used {settings['passes']} times, clipping at "
        f"{settings['clip']:g}, advantages with GAE λ = {settings['gae_lambda']:g}, a critic of "
        f"peak learning rate {settings['value_learning_rate']:g}, {_aim(settings)}"
    )


def _aim(settings: Mapping[str, Any]) -> str:
    """What reinforcement learning is after, and how it is optimised."""
    return (
        f"{_training(settings, 'responses')}; the reward is λ·r with λ for training of "
        f"{_listed(settings['palettes'])}, less the KL to the base model with β = 1"
    )


def _training(settings: Mapping[str, Any], rows: str) -> str:
    """Learning rate, batch, and which weights are trained."""
    weights = "all weights"
    if lora := settings["lora"]:
        bits = ", the others in 4 bits" if lora["four_bit"] else ""
        weights = (
            f"LoRA adapters of rank {lora['rank']} (alpha {lora['alpha']}) on "
            f"{_listed(lora['targets'])}{bits}"
        )
    return (
        f"batches of {settings['batch_size']} {rows}, peak learning rate "
        f"{settings['learning_rate']:g}, {weights}"
    )


def _passes(settings: Mapping[str, Any]) -> str:
    return "one pass" if settings["epochs"] == 1 else f"{settings['epochs']} passes"


def _reward_model(name: str, made: Mapping[str, Any]) -> str:
    data, rows = (
        (f"the preferences {made['preferences']}", "pairs")
        if made["preferences"]
        else (f"the labels of {made['labels']}", "texts")
    )
    return (
        f"The reward model {name} was trained from {made['source'] or 'the base model'} on {data}, "
        f"{_passes(made)}, {_training(made, rows)}."
    )


FAMILIES: dict[str, Callable[[Mapping[str, Any], Mapping[str, str]], str]] = {
    "map-d": _map_d,
    "morl-d": _morl_d,
    "best-of": _best_of,
    "token-d": _token_d,
    "dpo": _dpo,
    "soup": _soup,
    "rloo": _rloo,
    "ppo": _ppo,
}


def _source(spec: Mapping[str, Any]) -> str:
    text = SOURCES.get(spec["kind"], f"a reward of the kind {spec['kind']}")
    return text.format(model=spec.get("model"))


def _listed(names: list[str]) -> str:
    """`a, b and c`."""
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last
