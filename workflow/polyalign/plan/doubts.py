"""What is possible in a config, and probably not meant: the warnings of `polyalign check`."""

import os
from pathlib import Path

from polyalign.families import Policy
from polyalign.paths import Paths
from polyalign.rewards.posting import Remote
from polyalign.study import Study
from polyalign.study.checks import similar_path
from polyalign.study.yaml_lines import walk, written


def doubts(study: Study) -> list[str]:
    """Unused reward models, results of other studies, and names that are nearly paths."""
    settings = study.model_dump()
    texts = {key: text for key, text in walk(settings) if isinstance(text, str)}
    paths = Paths(study.study)
    found = []
    for name in study.reward_models:
        model = paths.model(Policy("reward", name))
        if model not in texts.values():
            found.append(
                f"reward_models.{name}: it is trained, but no value uses it; a value does with "
                f"`model: {model}`"
            )
    for key, text in texts.items():
        other = text.split("/")[1] if text.startswith("results/") and text.count("/") > 1 else None
        if other and other != study.study:
            own = text.replace(f"results/{other}/", f"{paths.results}/", 1)
            found.append(
                f"{written(key)}: {text!r} belongs to the study {other!r}, and this study, "
                f"{study.study!r}, never makes it; if its own is meant, write {own!r}"
            )
    for key, text in texts.items():
        if key[-1] in ("model", "source", "path") and not Path(text).exists():
            near = None if text.startswith("results/") else similar_path(text)
            if near and near != text:
                found.append(
                    f"{written(key)}: {text!r} is not here, so it is taken for a name on the hub; "
                    f"if {near!r} is meant, write that"
                )
    return found + _keys(study) + _unnamed_mixtures(study)


def _keys(study: Study) -> list[str]:
    """Keys of servers that the environment lacks; another one may have them."""
    servers: dict[str, object] = {f"values.{name}": spec for name, spec in study.values.items()}
    servers["evaluation.judge"] = study.evaluation.judge
    return [
        f"{key}: the environment variable {spec.key_env} is not set here; the jobs need the key of "
        f"{spec.endpoint} in it"
        for key, spec in servers.items()
        if isinstance(spec, Remote) and spec.key_env and not os.environ.get(spec.key_env)
    ]


def _unnamed_mixtures(study: Study) -> list[str]:
    """The figure of mixtures needs to know which value a preference data set stands for."""
    mixed = [made.settings["mixture"] for made in study.all_policies.values() if made.preferences]
    known = {part for shares in mixed for part in shares} & set(study.values)
    if "mixtures" not in study.plots or not mixed or len(known) > 1:
        return []
    return [
        "plots: the figure mixtures cannot be drawn: fewer than two preference data sets of the "
        "mixtures are called like values; rename them, or leave it out"
    ]
