"""What tables, figures, the overview page and captions show of a study, besides the numbers."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from polyalign import plots
from polyalign.families import BASE, POOL, VALUE, Policy
from polyalign.models.sources import label_names
from polyalign.paths import Paths
from polyalign.plots import FigureSpec
from polyalign.report.registry import TABLES
from polyalign.settings import Strict
from polyalign.study import Study, docstrings

Settings = dict[str, Any]

NO_RESULT = frozenset({"accumulation", "gradient_checkpointing", "report_to", "save_every"})
"""Settings of a training that say how it runs; the methods text leaves them out."""

NAMES_POLICIES = ("palettes", "lam", "models")
"""Settings of a family that name its policies."""

ON_PAGE = 6
"""Figures on the overview page, the first of `plots`: more would make it too large to send."""

SEVERAL_SEEDS = (
    " Of a policy that is trained with several seeds each seed has a row; behind `seeds` is the "
    "standard deviation over them, beside the uncertainty over prompts. The table of policies with "
    "several seeds has the mean over seeds, and the interval for new prompts and new seeds."
)
"""What captions of tables say of policies with several seeds."""

SANDBOX_CHECKS = {"well-formed samples": "polyalign.sandbox.world:well_formed"}
"""Fact about the sandbox's base model → the `module:function` that judges a prompt and a response;
the fact is the share of the samples that pass."""


def _paths(study: Study) -> Paths:
    return Paths(study.study)


def _pick(section: Strict, *keys: str) -> Settings:
    return section.model_dump(include=set(keys))


def soups(study: Study) -> list[Policy]:
    """The policies that are made of other policies' models."""
    return [policy for policy in study.all_policies.values() if policy.parts]


def mixed(study: Study) -> list[Policy]:
    """Soups and the policies that they are made of, in the study's order."""
    named = {name for policy in soups(study) for name in (policy.name, *policy.parts)}
    return [policy for policy in study.evaluated if policy.name in named]


def tables(study: Study) -> list[str]:
    """Names of the tables of the report."""
    asked = {
        "mixing": bool(soups(study)),
        "seeds": bool(study.repeated),
        "judge": study.evaluation.judge is not None,
    }
    return [name for name in TABLES if asked.get(name, True)]


def captions(study: Study) -> dict[str, str]:
    """Table → what it shows of this study; `{prompts}` is only known when it is measured."""
    judge = study.evaluation.judge
    known = {
        "{opponent}": opponent(study),
        "{slack}": f"{study.slack:g}",
        "{pairs}": str(judge.prompts) if judge else "",
        "{seeds}": SEVERAL_SEEDS if study.repeated else "",
    }
    found = {}
    for name in tables(study):
        found[name] = TABLES[name].caption
        for field, text in known.items():
            found[name] = found[name].replace(field, text)
    return found


def palettes(study: Study) -> list[str]:
    """The solved and diagnosed palettes."""
    return [_paths(study).palette(palette) for palette in study.palettes]


def model_manifests(study: Study) -> list[str]:
    """Manifests of the models that policies and rewards are made from."""
    made = [Policy("reward", name) for name in study.reward_models]
    if study.model and study.model.source == _paths(study).model(BASE):
        made.append(BASE)
    return [_paths(study).manifest(policy) for policy in made]


def judged_manifests(study: Study) -> list[str]:
    """Manifests of the models whose quality the report states."""
    preferred = [policy for policy in study.of_kind("train") if policy.preferences]
    return model_manifests(study) + [_paths(study).manifest(policy) for policy in preferred]


def training_metrics(study: Study) -> list[str]:
    """Metrics of every model that the workflow trains."""
    of_models = [path.removesuffix(".json") + ".csv" for path in model_manifests(study)]
    trained = [policy for policy in study.of_kind("train") if not policy.parts]
    learnt = [VALUE] if study.value_training else []
    return of_models + [_paths(study).metrics(policy) for policy in [*learnt, *trained]]


def left_out(study: Study) -> str:
    """Which policies are left out and why, in a sentence; empty if none is."""
    reasons: dict[str, list[str]] = {}
    for policy, why in study.left_out.items():
        reasons.setdefault(why, []).append(policy)
    parts = [f"{', '.join(policies)} ({why})" for why, policies in reasons.items()]
    return f"Left out: {'; '.join(parts)}." if parts else ""


def figure_tables(study: Study, policies: Iterable[Policy]) -> dict[str, Callable[[], list[str]]]:
    """Name of each table that a figure may need → its files; of policies, those of `policies`."""
    paths, shown = _paths(study), list(policies)
    explored = (
        *("random", "fronts", "rounds", "paths"),
        *("by_number", "candidates", "duals", "palette_levels", "replicates"),
    )
    return {
        **{name: partial(_one, paths.table(name)) for name in tables(study)},
        "seeds": lambda: [paths.table("seeds")] if study.repeated else [],
        "levels": lambda: [paths.levels(policy) for policy in shown],
        "winrate": lambda: [paths.winrate(policy) for policy in shown],
        "rewards": lambda: [paths.rewards(policy) for policy in shown],
        "pool": lambda: [paths.rewards(POOL)],
        "palettes": lambda: palettes(study),
        "training": lambda: training_metrics(study),
        "jobs": lambda: [paths.explored("jobs", "dot")],
        "calibration": lambda: [paths.calibration()] if study.value_training else [],
        **{name: partial(_one, paths.explored(name)) for name in explored},
    }


def _one(path: str) -> list[str]:
    return [path]


def names_and_order(study: Study) -> Settings:
    """Names and order of values and policies, for tables and figures.

    Pairs, since the canonical text sorts keys, and readers must see the config's order.
    """
    return {
        "labels": list(study.labels.items()),
        "units": {name: spec.unit for name, spec in study.values.items()},
        "policies": [(policy.name, policy.palette) for policy in study.evaluated],
    }


def figure_settings(study: Study, figure: FigureSpec) -> Settings:
    """What a figure shows besides its tables: what it asks for, and nothing of the others'."""
    known: dict[str, Callable[[], Any]] = {
        "chosen": lambda: study.chosen,
        "evaluate_only": lambda: study.evaluation.evaluate_only,
        "mixtures": lambda: {
            policy.name: policy.settings.get("mixture") or policy.settings.get("weights")
            for policy in study.all_policies.values()
            if policy.preferences or policy.parts
        },
    }
    asked = {name: known[name]() for name in figure.shows}
    if not figure.of_a_policy and {"levels", "winrate", "rewards"} & set(figure.needs):
        asked["left_out"] = left_out(study)
    return {**names_and_order(study), **asked}


def table_settings(study: Study) -> Settings:
    """What the tables show besides the numbers."""
    return {
        **names_and_order(study),
        "chosen": study.chosen,
        "opponent": study.evaluation.opponent,
        "maintained": study.maintained,
        "results": _paths(study).results,
        "titles": {name: TABLES[name].title for name in tables(study)},
        "captions": captions(study),
        "given": {
            policy.name: policy.settings["lam"]
            for policy in study.all_policies.values()
            if "lam" in policy.settings
        },
    }


def page_settings(study: Study) -> Settings:
    """What the overview page shows besides the numbers."""
    return {
        **names_and_order(study),
        "study": study.study,
        "results": _paths(study).results,
        "left_out": left_out(study),
        "chosen": study.chosen,
        "elsewhere": study.plots[ON_PAGE:],
        "checks": SANDBOX_CHECKS if study.sandbox else {},
        "methods": method_settings(study),
    }


def method_settings(study: Study) -> Settings:
    """What the page says about how the study was done.

    The sentences are those of the docstrings of families, kinds of reward and LoRA. They are
    settings, so an edited sentence makes the page again, and nothing else.
    """
    made = [policy.family for policy in study.all_policies.values()]
    used = {name: study.policies[name] for name in dict.fromkeys(made)}
    cited = [*used.values(), *study.reward_models.values(), *study.values.values()]
    facts: Settings = {
        "rewards": study.rewards,
        "test_share": study.prompts.test_share,
        "values": {name: _value_settings(study, name) for name in study.values},
        "palettes": {name: list(levels.items()) for name, levels in study.configured.items()},
        "drawn": len(study.palettes) - len(study.configured),
        "reward_models": [
            {
                "name": name,
                **_pick(model, "preferences", "labels", "source"),
                "settings": _listed(model, "preferences", "labels", "source"),
            }
            for name, model in study.reward_models.items()
        ],
        "map": {
            **_pick(study.map, "min_ess", "max_weight", "max_kl_share", "max_norm"),
            **_pick(study.map, "scope", "resamples"),
            "on_infeasible": {name: study.on_infeasible(name) for name in study.configured},
        },
        "evaluation": {
            **_pick(study.evaluation, "bootstrap", "opponent", "evaluate_only"),
            "slack": study.slack,
        },
        "families": [
            {
                "name": name,
                "policies": made.count(name),
                "sentence": docstrings.first_paragraph(type(section)),
                "settings": docstrings.listed(
                    _of_kept(docstrings.given(section, NO_RESULT), _left_out_of(study, name))
                ),
            }
            for name, section in used.items()
        ],
        "references": list(
            dict.fromkeys(work for section in cited for work in docstrings.references(section))
        ),
        "seed": study.seed,
    }
    if study.model and not study.rewards:
        sampling = _pick(
            study.sampling,
            *("temperature", "top_k", "top_p", "max_new_tokens", "trim"),
            *("candidates", "evaluation_candidates"),
        )
        facts |= {
            "model": study.model.source,
            "prompts": [source.path for source in study.prompts.sources],
            "sampling": sampling,
        }
    return facts


def _listed(section: Strict, *leave_out: str) -> str:
    """The settings of a training as text."""
    return docstrings.listed(docstrings.given(section, NO_RESULT | set(leave_out)))


def _left_out_of(study: Study, family: str) -> set[str]:
    """The policies of a family that are left out, by what follows its name."""
    parts = (name.partition("/") for name in study.left_out)
    return {variant for of, _, variant in parts if of == family}


def _of_kept(settings: Settings, gone: set[str]) -> Settings:
    """A family's settings without the palettes, λ and soups of the policies in `gone`."""
    kept: Settings = {}
    for name, setting in settings.items():
        if name in NAMES_POLICIES and isinstance(setting, dict):
            kept[name] = {policy: made for policy, made in setting.items() if policy not in gone}
        elif name in NAMES_POLICIES and setting is not None:
            kept[name] = [policy for policy in setting if policy not in gone]
        else:
            kept[name] = _of_kept(setting, gone) if isinstance(setting, dict) else setting
    return kept


def _value_settings(study: Study, value: str) -> Settings:
    """What a value's reward is, and its settings that are not the defaults of its kind."""
    kind = type(study.values[value])
    no_score = {"kind", *kind.SPEED}
    defaults = {name: field.default for name, field in kind.model_fields.items()}
    changed = {
        name: setting
        for name, setting in study.scorer(value).items()
        if name not in no_score and setting != defaults[name]
    }
    # A model that the workflow makes may not be there yet, and the page must not depend on that.
    if isinstance(changed.get("index"), int) and not changed["model"].startswith("results/"):
        names = label_names(changed["model"]) or []
        changed["label"] = dict(enumerate(names)).get(changed["index"])
    return {
        "sentence": docstrings.first_paragraph(kind),
        "settings": docstrings.listed(changed),
    }


def front_page(study: Study) -> Settings:
    """What the report's first page says of a study: its families and figures, in a sentence each.

    A figure of one policy is named once, whatever the number of policies it is drawn of.
    """
    figures = dict.fromkeys(entry.partition("/")[0] for entry in study.plots)
    return {
        "opponent": study.evaluation.opponent,
        "from_scores": study.rewards is not None,
        "families": {
            name: docstrings.first_sentence(docstrings.prose(type(study.policies[name])))
            for name in dict.fromkeys(policy.family for policy in study.all_policies.values())
        },
        "figures": {
            name: docstrings.first_sentence(plots.module(name).__doc__ or "") for name in figures
        },
    }


def caption_numbers(study: Study) -> str:
    """The sizes behind a figure, for its caption."""
    sizes = [
        f"{len(study.evaluated)} policies",
        f"{len(study.values)} values",
        f"{len(study.palettes)} palettes",
        f"{study.evaluation.bootstrap} resamples of the prompts behind an interval",
    ]
    if not study.rewards:
        sizes.append(f"{study.sampling.candidates} candidates per prompt in the pool")
    return f"Study {study.study}: {', '.join(sizes)}."


def sampled_families(study: Study) -> list[str]:
    """Families whose policies' samples are merged with their rewards, sorted."""
    kinds = {policy.family for policy in study.of_kind("train") + study.of_kind("sample")}
    return sorted({BASE.family, *kinds})


def model_families(study: Study) -> list[str]:
    """Families whose policies are sampled from a model as it is, sorted."""
    return sorted({BASE.family, *(policy.family for policy in study.of_kind("train"))})


def table_files(study: Study) -> list[str]:
    """The files of all tables."""
    return [
        _paths(study).table(name, kind) for name in tables(study) for kind in TABLES[name].kinds
    ]


def plot_files(study: Study) -> list[str]:
    """The files of the figures that the config lists."""
    return [_paths(study).plot(name, kind) for name in study.plots for kind in ("pdf", "png")]


def pictures(study: Study) -> list[str]:
    """The pictures on the overview page."""
    return [_paths(study).plot(name, "png") for name in study.plots[:ON_PAGE]]


def winrate_files(study: Study) -> list[str]:
    """The win rates of all policies."""
    return [_paths(study).winrate(policy) for policy in study.evaluated]


def figure_targets() -> str:
    """Pattern of all figures; a figure of one policy may have the policy's name behind a slash.

    A figure is a target whether the config lists it or not.
    """
    of_a_policy = {name: plots.figure(name).of_a_policy for name in plots.names()}
    return "|".join(name + "(/[^/]+/[^/]+)?" * of_a_policy[name] for name in of_a_policy)


def opponent(study: Study) -> str:
    """What win rates compare with, in words."""
    named = study.evaluation.opponent
    return "the base model" if named == BASE.name else named
