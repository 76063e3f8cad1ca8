"""Checks across sections: names that must exist somewhere else, paths, and sizes."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from math import log
from pathlib import Path

from polyalign import families, plots
from polyalign.data.formats import PAIRS_FILES, PROMPT_TABLE_FILES, TABLE_FILES, split_file
from polyalign.data.packages import PACKAGE, resolve
from polyalign.data.packed import is_packed, opened
from polyalign.errors import InputError, nearest
from polyalign.families import Policy
from polyalign.families.options import drawn_names
from polyalign.map.base import PROMPT_SCOPE_CANDIDATES
from polyalign.map.words import column_of, rows_of
from polyalign.models.own_code import check_trusted, check_untrusted
from polyalign.models.sources import label_names, lacks_chat_template
from polyalign.rewards.spec import ModelSpec
from polyalign.settings import CHAT
from polyalign.study.functions import check_function
from polyalign.study.messages import unknown
from polyalign.study.partial import Partial
from polyalign.study.sections import Sampling
from polyalign.study.yaml_lines import Key, walk


def check(made: Partial) -> None:
    """Note all faults that lie between sections."""
    _sections(made)
    _palettes(made)
    _words(made)
    _policies(made)
    _learnt(made)
    _reward_models(made)
    _sizes(made)
    _evaluation(made)
    _engine(made)
    _training(made)
    _plots(made)
    _values(made)
    _made_paths(made)
    _sources(made)


def _sections(made: Partial) -> None:
    """Sections that a study with a model needs, and one from scores alone has no use for."""
    raw = made.raw
    for name in ("study", "values"):
        if name not in raw:
            made.add((name,), "missing; expected in every study; add it")
    if raw.get("rewards") is None:
        _some_test_prompts(made, "a study with a model")
        if raw.get("model") is None:
            made.add(
                ("model",),
                "missing; expected the base model, or `rewards` (a table of scores); add one",
            )
        prompts = made.sections.get("prompts")
        if (prompts is None and "prompts" not in raw) or (prompts and not prompts.sources):
            made.add(("prompts", "sources"), "missing; expected at least one source; add one")
        return
    for name in ("sandbox", "model", "sampling", "reward_models", "preferences"):
        if name in raw:
            _meaningless(made, (name,))
    prompts = raw.get("prompts")
    for name in prompts if isinstance(prompts, dict) else ():
        if name not in ("test_share",):
            _meaningless(made, ("prompts", name))
    for family in made.sections.get("policies", {}):
        if families.family(family).kind != "select":
            _meaningless(made, ("policies", family))
        _some_test_prompts(made, "a study with policies")


def _some_test_prompts(made: Partial, which: str) -> None:
    """Policies are judged on prompts that λ was not fitted on."""
    prompts = made.sections.get("prompts")
    if prompts and prompts.test_share == 0:
        made.add(
            ("prompts", "test_share"),
            f"0 leaves no prompt to judge policies on; expected more in {which}; raise it",
        )


def _meaningless(made: Partial, key: Key) -> None:
    made.add(
        key, "needs a model; expected none in a study from scores (`rewards`); remove one of them"
    )


def _palettes(made: Partial) -> None:
    if made.broken("values"):
        return
    known = made.names("values")
    palettes = made.raw.get("palettes")
    for name, levels in palettes.items() if isinstance(palettes, dict) else ():
        for value in levels if isinstance(levels, dict) else ():
            if value not in known:
                made.add(("palettes", name, value), _no_value(str(value), known))
    section = made.sections.get("map")
    given = section.on_infeasible if section else {}
    for name in given if isinstance(given, dict) else ():
        if not made.broken("palettes") and name not in made.names("palettes"):
            made.add(
                ("map", "on_infeasible", name), unknown(name, "palette", made.names("palettes"))
            )


def _no_value(key: str, known: list[str]) -> str:
    """Why the key of a palette is no value of the study."""
    column = column_of(key)
    if column.group is not None:
        return (
            f"{key!r} asks something of a group of prompts; expected a value: `polyalign solve "
            "TABLE --target` takes groups, and a study one palette for all of its prompts; remove "
            "it, or make a study of those prompts"
        )
    if column.test is not None:
        compare, number = column.test
        turned = ", `sign: -1`" if "<" in compare else ""
        return (
            f"{key!r} asks for a share; expected a value that is one; add to `values` the entry of "
            f"{column.value!r} under another name, with `above: "
            f"{-number if turned else number:g}`{turned}, and ask for the level of that"
        )
    return unknown(key, "value", known)


def _words(made: Partial) -> None:
    """Budgets of palettes that choosing among the candidates cannot spend."""
    sampling = made.sections.get("sampling") or Sampling()
    most = log(sampling.candidates)
    palettes = made.sections.get("palettes", {})
    for name, levels in palettes.items():
        for row in rows_of(levels):
            if row.budget is not None and row.budget >= most and made.raw.get("rewards") is None:
                made.add(
                    ("palettes", name, row.of),
                    f"{row.budget:g} nats are more than choosing among {sampling.candidates} "
                    f"candidates can spend; expected less than {most:.3g}; lower it",
                )


def _policies(made: Partial) -> None:
    """Palettes, preferences and policies that policies name."""
    policies = made.policies()
    _each_once(made)
    for policy in policies.values():
        asked = policy.palette and not _drawn(made, policy)
        needs = [(policy.palette, "palettes", "palette")] if policy.palette and asked else []
        needs += [(name, "preferences", "preference data set") for name in policy.preferences]
        needs += [(name, "values", "value") for name in policy.values]
        for name, section, what in needs:
            if not made.broken(section) and name not in made.names(section):
                key = _locate(made, policy.family, name)
                made.add(key, unknown(name, what, made.names(section)))
        for part in policy.models:
            _model_of(made, policies, policy, part)


def _each_once(made: Partial) -> None:
    """No policy has the name that another one has with a further seed."""
    for name, section in made.sections.get("policies", {}).items():
        named = [policy.name for policy in families.family(name).policies(section)]
        if twice := sorted({one for one in named if named.count(one) > 1}):
            made.add(
                ("policies", name),
                f"two policies would have the name {twice[0]!r}, one of them by its seed; expected "
                "one policy per name; rename the other",
            )


def _drawn(made: Partial, policy: Policy) -> bool:
    """Whether a policy's palette is one that the study draws; no palette may have its name."""
    section = made.sections["policies"][policy.family]
    section = getattr(section, "labelled", section) or section
    if policy.palette not in drawn_names(getattr(section, "random", 0)):
        return False
    if policy.palette in made.names("palettes"):
        made.add(
            ("palettes", policy.palette),
            f"is the name of a random palette of {policy.family}; expected another name; rename it",
        )
    return True


def _learnt(made: Partial) -> None:
    """Every λ of a family that samples with the value model weighs values that it learns."""
    palettes = made.sections.get("palettes", {})
    for name, section in made.sections.get("policies", {}).items():
        if not families.family(name).learns or not section.values:
            continue
        key = ("policies", name, "values")
        for value in section.values:
            if not made.broken("values") and value not in made.names("values"):
                made.add(key, unknown(value, "value", made.names("values")))
        for policy in made.policies().values():
            if policy.family != name:
                continue
            weighed = policy.values or palettes.get(policy.palette, {})
            for value in sorted(set(weighed) - set(section.values)):
                made.add(
                    key,
                    f"lack {value!r}, which {policy.name} weighs; expected every value of its "
                    "palettes and λ; add it, or leave `values` out",
                )


def _model_of(made: Partial, policies: Mapping[str, Policy], policy: Policy, part: str) -> None:
    """`part`, whose model `policy` is made from, must be trained in this study."""
    maker = part.partition("/")[0]
    key = _locate(made, policy.family, maker if part == policy.start else part)
    trained = [name for name in _trained(policies) if name != policy.name]
    if part in policies and part not in _trained(policies):
        made.add(
            key,
            f"{part!r} has no model of its own (`{maker}` draws on the base "
            "model); expected a trained policy; take another",
        )
    elif policy.name in _behind(policies, part):
        through = "" if part == policy.name else f", through {part}"
        made.add(
            key,
            f"{policy.name!r} is made from itself{through}; expected other policies; take another",
        )
    elif part not in policies and not _faulty(made, maker):
        made.add(key, f"{part!r} is not trained in this study; {_one_of(part, trained)}")


def _behind(policies: Mapping[str, Policy], name: str) -> set[str]:
    """A policy and all that it is made from."""
    found, left = set(), [name]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += policies[one].models if one in policies else ()
    return found


def _trained(policies: Mapping[str, Policy]) -> list[str]:
    """Names of the policies that are models."""
    return [
        name for name, policy in policies.items() if families.family(policy.family).kind == "train"
    ]


def _one_of(name: str, known: list[str]) -> str:
    listed = f"one of {', '.join(sorted(known))}" if known else "a path of yours (it makes none)"
    return f"expected {listed}; {nearest(name, known)}"


def _faulty(made: Partial, family: str) -> bool:
    """Whether the family stands in the config with a fault, so its policies are not known."""
    return family in made.names("policies") and family not in made.sections.get("policies", {})


def _locate(made: Partial, family: str, name: str) -> Key:
    """Key where `name` stands, as a key or a value, in the section of a family."""
    section = made.raw["policies"][family]
    for key, value in walk(section, ("policies", family)):
        if value == name or key[-1] == name:
            return key
    return ("policies", family)


def _reward_models(made: Partial) -> None:
    known = made.names("preferences")
    for name, model in made.sections.get("reward_models", {}).items():
        data = model.preferences
        if data is not None and data not in known and not made.broken("preferences"):
            key = ("reward_models", name, "preferences")
            made.add(key, unknown(data, "preference data set", known))


def _sizes(made: Partial) -> None:
    """Enough candidates for what is asked of them."""
    sampling, scope = made.sections.get("sampling"), made.sections.get("map")
    if made.raw.get("rewards") is not None or ("sampling" in made.raw and not sampling):
        return
    candidates = (sampling or Sampling()).candidates
    key = ("sampling", "candidates")
    choosing = {policy.family for policy in made.policies().values() if policy.uses_pool}
    for family in made.sections.get("policies", {}):
        if (families.family(family).kind == "select" or family in choosing) and candidates < 2:
            made.add(
                key,
                f"{candidates} a prompt leaves `{family}` no choice; expected at least 2; raise it",
            )
    if scope and scope.scope == "prompt" and candidates < PROMPT_SCOPE_CANDIDATES:
        made.add(
            key,
            f"{candidates} a prompt is too few for `map.scope: prompt`; expected at least "
            f"{PROMPT_SCOPE_CANDIDATES}; raise it, or write `scope: joint`",
        )


def _evaluation(made: Partial) -> None:
    """Values and policies that the evaluation names, and values that λ must not weigh."""
    evaluation = made.sections.get("evaluation")
    if evaluation is None:
        return
    policies = [families.BASE.name, *made.policies()]
    opponent = evaluation.opponent
    if opponent not in policies and not _faulty(made, opponent.partition("/")[0]):
        made.add(("evaluation", "opponent"), unknown(opponent, "policy", policies))
    if made.broken("values"):
        return
    known = made.names("values")
    named = [
        *((("values", i), name) for i, name in enumerate(evaluation.values)),
        *((("evaluate_only", i), name) for i, name in enumerate(evaluation.evaluate_only)),
        *((("hypervolume", "reference", name), name) for name in evaluation.hypervolume.reference),
        *((("hypervolume", "scale", name), name) for name in evaluation.hypervolume.scale),
        *((("replicates", name), name) for name in evaluation.replicates),
    ]
    for key, name in named:
        if name not in known:
            made.add(("evaluation", *key), unknown(name, "value", known))
    for value, others in evaluation.replicates.items():
        for name in [one for one in others if one not in evaluation.evaluate_only]:
            made.add(
                ("evaluation", "replicates", value),
                f"{name!r} may be weighed by λ; expected values of evaluation.evaluate_only; add "
                "it there",
            )
    random_lam = {
        (policy.family, *within): set(policy.values or known)
        for policy in made.policies().values()
        for within in ((), ("morl",))
        if "values" in (policy.settings.get("morl", {}) if within else policy.settings)
    }
    for section, weighed in random_lam.items():
        for name in sorted(weighed & set(evaluation.evaluate_only)):
            made.add(
                ("policies", *section, "values"),
                f"λ would weigh {name!r}, which is in evaluation.evaluate_only; expected a list of "
                "other values; write it without",
            )
    for policy in made.policies().values():
        for name, weight in policy.settings.get("lam", {}).items():
            if weight > 0 and name in evaluation.evaluate_only:
                made.add(
                    ("policies", policy.family, "lam", policy.variant, name),
                    f"λ would weigh {name!r}, which is in evaluation.evaluate_only; expected "
                    "other values; remove it here or there",
                )
    for palette, levels in made.sections.get("palettes", {}).items():
        for name in set(levels) & set(evaluation.evaluate_only):
            made.add(
                ("palettes", palette, name),
                f"{name!r} is in evaluation.evaluate_only; expected values that λ may weigh; "
                "remove it here or there",
            )


def _engine(made: Partial) -> None:
    """What generates must be installed, and able to load the model."""
    sampling, model = made.sections.get("sampling"), made.sections.get("model")
    if not sampling or sampling.engine != "vllm":
        return
    key = ("sampling", "engine")
    if find_spec("vllm") is None:
        made.add(
            key,
            "vllm is not installed; expected it in this environment; pip install vllm, or write "
            "`engine: transformers`",
        )
    if model and model.source.endswith(".gguf"):
        made.add(
            key,
            f"{model.source!r} is a GGUF file; expected a full model for vllm; write "
            "`engine: transformers`",
        )


def _training(made: Partial) -> None:
    """Number formats that models can be trained in."""
    model = made.sections.get("model")
    trained = [
        name for name in made.sections.get("policies", {}) if families.family(name).kind == "train"
    ]
    if model and model.dtype == "float16" and trained:
        made.add(
            ("model", "dtype"),
            f"'float16' overflows where models are trained (`{trained[0]}`); expected float32 or "
            "bfloat16; write bfloat16",
        )


def _plots(made: Partial) -> None:
    """Figures that exist, and the policies behind a slash."""
    known = plots.names()
    policies = [families.BASE.name, *made.policies()]
    evaluation = made.sections.get("evaluation")
    for index, entry in enumerate(made.sections.get("plots", [])):
        name, slash, policy = entry.partition("/")
        if name not in known:
            made.add(("plots", index), unknown(name, "figure", known))
        elif "replicates" in plots.figure(name).needs and evaluation and not evaluation.replicates:
            made.add(
                ("plots", index),
                f"{name!r} compares models of the same value; expected evaluation.replicates; "
                "name them there, or leave the figure out",
            )
        elif slash and not plots.figure(name).of_a_policy:
            made.add(
                ("plots", index),
                f"{name!r} is a figure of the whole study; expected no policy; write {name}",
            )
        elif slash and policy not in policies and not _faulty(made, policy.partition("/")[0]):
            made.add(("plots", index), unknown(policy, "policy", policies))


def _values(made: Partial) -> None:
    """Columns of a table only where there is one, and models that can be there."""
    scores = made.raw.get("rewards") is not None
    for name, spec in made.sections.get("values", {}).items():
        if scores and spec.kind != "column":
            made.add(
                ("values", name, "kind"),
                f"{spec.kind!r} computes scores; expected 'column' in a study from scores "
                "(`rewards`); write 'column'",
            )
        elif not scores and spec.kind == "column":
            made.add(
                ("values", name, "kind"),
                "'column' needs a table of scores; expected `rewards` in the study; add it, or "
                "take a kind that computes",
            )
        try:
            spec.user_code()
            check_function(spec)
        except InputError as fault:
            made.add(("values", name, "function"), str(fault))
        if isinstance(spec, ModelSpec) and spec.model:
            _model_source(made, ("values", name, "model"), spec.model)
            _label(made, name, spec)
            _own_code(made, name, spec)
            read = spec.model_dump()
            if read.get("chat_template") is None:
                _chat(made, ("values", name, "template"), read.get("template"), spec.model)


def _own_code(made: Partial, name: str, spec: ModelSpec) -> None:
    """A model that comes with code of its own: only by its key, and pinned."""
    try:
        if spec.trust_remote_code:
            check_trusted(spec.model, spec.revision)
        elif spec.kind != "log_likelihood":
            check_untrusted(spec.model, spec.revision)
    except InputError as fault:
        key = "revision" if spec.trust_remote_code else "model"
        # A package that is not installed is a fault of `model`, which is noted already.
        if not any(known.key == ("values", name, "model") for known in made.faults):
            made.add(("values", name, key), str(fault))


def _chat(made: Partial, key: Key, template: str | None, source: str) -> None:
    """`template: chat` needs a chat template; a model that is here shows whether it has one."""
    try:
        missing = template == CHAT and lacks_chat_template(source)
    except InputError:
        return  # a package that is not installed, which is noted already
    if missing:
        made.add(
            key,
            f"{source}: its tokenizer has no chat template; expected one for `template: chat`; "
            "write the template out",
        )


def _label(made: Partial, name: str, spec: ModelSpec) -> None:
    """The label that a value scores, of a model that is here or that the study trains."""
    try:
        labels = _labels(made, spec.model)
        if labels is not None:
            spec.check_labels(labels)
    except InputError as fault:
        at = ("values", name, "index")
        # A package that is not installed is a fault of `model`, which is noted already.
        if not any(known.key == ("values", name, "model") for known in made.faults):
            made.add(at, str(fault))


def _labels(made: Partial, path: str) -> list[str] | None:
    """Names of a model's labels; None if they are not known."""
    for name, model in made.sections.get("reward_models", {}).items():
        if path.rstrip("/") == f"results/{made.raw.get('study')}/models/reward/{name}":
            return ["reward"] if model.labels is None else model.labels.listed
    return label_names(path)


def _made_paths(made: Partial) -> None:
    """Paths below results/<study>/ must be ones that a rule makes."""
    study = made.sections.get("study")
    if study is None:
        return
    home = f"results/{study}/"
    for key, path in walk(dict(made.raw)):
        if isinstance(path, str) and path.startswith(home):
            _made_path(made, key, path.removeprefix(home).rstrip("/"))


def _made_path(made: Partial, key: Key, path: str) -> None:
    sandbox = made.raw.get("sandbox") is not None
    reward_models = [f"models/reward/{name}" for name in made.names("reward_models")]
    trained = [f"models/{name}" for name in _trained(made.policies())]
    if key == ("model", "source"):
        reward_models, trained = [], []
    if path == "models/base/base" or re.match("world(/|$)", path):
        if not sandbox:
            made.add(
                key,
                f"{path!r} is made by the sandbox alone; expected a `sandbox` section, or a path "
                "or hub id of yours; change it",
            )
        return
    known = [*reward_models, *trained, *(["models/base/base"] if sandbox else [])]
    if path not in known and not any(
        path.startswith(f"models/{family}/") and _faulty(made, family) for family in families.NAMES
    ):
        made.add(key, f"nothing makes {path!r}; {_one_of(path, known)}")


def _sources(made: Partial) -> None:
    """Data, tables and models of the user must exist."""
    sections = made.sections
    if rewards := sections.get("rewards"):
        _table(made, ("rewards",), rewards)
    if model := sections.get("model"):
        _model_source(made, ("model", "source"), model.source)
    if prompts := sections.get("prompts"):
        if model is not None:
            _chat(made, ("prompts", "template"), prompts.template, model.source)
        for index, source in enumerate(prompts.sources):
            at = ("prompts", "sources", index, "path")
            _data_source(made, at, source.path, [source.split], PROMPT_TABLE_FILES)
    for name, data in sections.get("preferences", {}).items():
        named = {"train": data.train_split, "test": data.test_split}
        splits = [named[split] for split in _splits(made, name)]
        _data_source(made, ("preferences", name, "path"), data.path, splits)
    for name, model in sections.get("reward_models", {}).items():
        key = ("reward_models", name)
        if model.labels is not None:
            _table(made, (*key, "labels"), model.labels.path)
        if model.source is not None:
            _model_source(made, (*key, "source"), model.source)


def _ours(made: Partial, path: str) -> bool:
    """Whether the workflow makes the path; `_made_paths` looks after those."""
    return path.startswith(f"results/{made.raw.get('study')}/")


def _table(made: Partial, key: Key, path: str) -> None:
    if not path.endswith(TABLE_FILES):
        made.add(
            key,
            f"{path!r} is not a table; expected an ending of {', '.join(TABLE_FILES)}; convert it",
        )
    elif not _packed(made, key, path) and not _ours(made, path) and not Path(path).is_file():
        made.add(key, _absent(path, "a table"))


def _packed(made: Partial, key: Key, path: str) -> bool:
    """Whether a path is one in a package or an archive; then its faults are noted too."""
    try:
        if not is_packed(path):
            return False
        opened(path).close()
    except InputError as fault:
        made.add(key, str(fault))
    return True


def _splits(made: Partial, name: str) -> list[str]:
    """The splits of a preference data set that are read."""
    judged = any(
        name in policy.preferences and policy.settings.get("test_pairs")
        for policy in made.policies().values()
    )
    reward_models = made.sections.get("reward_models", {}).values()
    if judged or any(model.preferences == name for model in reward_models):
        return ["train", "test"]
    return ["train"]


def _data_source(
    made: Partial, key: Key, path: str, splits: list[str], tables: tuple[str, ...] = ()
) -> None:
    if _packed(made, key, path):
        return
    hub = path.count("/") >= 1 and not path.endswith(PAIRS_FILES + tables) and _hub_id(path)
    if not (_ours(made, path) or Path(path).exists() or hub):
        made.add(
            key,
            _absent(
                path,
                f"a folder, a {', '.join(PAIRS_FILES + tables)} file, or a hub id `owner/name`",
            ),
        )
    if _ours(made, path) or not Path(path).is_dir():
        return
    for split in splits:
        if split_file(path, split) is None:
            listed = " or ".join(f"{split}{ending}" for ending in PAIRS_FILES)
            made.add(key, f"the folder {path!r} has no {listed}; expected one of them; add it")


def _model_source(made: Partial, key: Key, path: str) -> None:
    if path.startswith(PACKAGE):
        try:
            resolve(path)
        except InputError as fault:
            made.add(key, str(fault))
    elif not (_ours(made, path) or Path(path).exists() or (path.count("/") < 2 and _hub_id(path))):
        made.add(key, _absent(path, "a model folder or a hub id `owner/name`"))


def _hub_id(path: str) -> bool:
    """Whether a path can be a name on the hub, which cannot be checked here.

    Below a folder that is here a path is one of this machine, unless the hub's cache has it.
    """
    return _hub_name(path) and (not _below_a_folder(path) or _in_cache(path))


def _hub_name(path: str) -> bool:
    start = path.startswith(("./", "../", "/", "~", "results/"))
    return not start and re.fullmatch(r"[\w.-]+(/[\w.-]+)*", path) is not None


def _below_a_folder(path: str) -> bool:
    return "/" in path and Path(path.partition("/")[0]).is_dir()


def _in_cache(path: str) -> bool:
    """Whether the hub's local cache has the model or data set."""
    from huggingface_hub.constants import HF_HUB_CACHE

    name = "--".join(path.split("/")[:2])
    return any((Path(HF_HUB_CACHE) / f"{kind}--{name}").is_dir() for kind in ("models", "datasets"))


def similar_path(path: str) -> str | None:
    """The path here that a mistyped one is nearest to; None if none is near."""
    there = Path()
    for part in Path(path).parts:
        if not (there / part).exists():
            names = [entry.name for entry in there.iterdir()] if there.is_dir() else []
            near = get_close_matches(part, names, n=1, cutoff=0.75)
            if not near:
                return None
            part = near[0]
        there /= part
    return str(there)


def _absent(path: str, what: str) -> str:
    near = similar_path(path)
    folder = path.partition("/")[0]
    local = (
        f", and {folder!r} is a folder here"
        if "hub id" in what and _hub_name(path) and _below_a_folder(path)
        else ""
    )
    mend = (
        f"write {near!r}"
        if near
        else "correct the path, which starts at the folder that Snakemake is called in"
    )
    return f"{path!r} does not exist{local}; expected {what}; {mend}"
