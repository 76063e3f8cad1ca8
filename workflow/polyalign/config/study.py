"""From a config to a Study, with all faults at once; and what the rules ask a Study for."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polyalign.config.checks import check
from polyalign.config.draft import draft, variants_of
from polyalign.config.faults import ConfigError, Fault, report
from polyalign.config.marks import Source, read_source, written
from polyalign.config.model import SLACKS, Study
from polyalign.families import Variant
from polyalign.values._spec import ModelSpec


def load(path: str | Path) -> Study:
    """Read and validate a config file.

    Raises:
        ConfigError: naming every fault with its file, line and key.
    """
    try:
        source = read_source(path)
    except OSError as fault:
        raise ConfigError(
            f"{path}: cannot be read ({fault.strerror}); expected a config file; check the path"
        ) from fault
    data = {} if source.data is None else source.data
    if source.fault is None and not isinstance(data, dict):
        raise ConfigError(f"{path}:1: is no mapping; expected `key: value` lines; rewrite it")
    return _validate(data, [source])


def validate(config: Mapping[str, Any], files: Iterable[str | Path] = ()) -> Study:
    """Validate a config that was read already, maybe from several files and `--config`.

    Args:
        config: the merged config.
        files: the files that it was read from, later ones winning; they give the lines.

    Raises:
        ConfigError: naming every fault with its key, and its file and line where it has them.
    """
    return _validate(config, [read_source(file) for file in files])


def _validate(config: Mapping[str, Any], sources: list[Source]) -> Study:
    text = [
        f"{source.name}:{source.fault[0]}: is no YAML: {source.fault[1]}; expected `key: value` "
        "lines, indented by spaces; mend this line or the one above"
        for source in sources
        if source.fault
    ]
    text += [
        f"{source.name}:{line}: {written(key)}: stands twice, first in line {first}; expected "
        "each key once; remove one of them"
        for source in sources
        for key, line, first in source.twice
    ]
    if not any(source.fault for source in sources):
        made = draft(config)
        check(made)
        faults: list[Fault] = made.faults
        if faults:
            text.append(report(faults, config, sources))
    if text:
        raise ConfigError("\n".join(text))
    return Study(**made.sections)


def policies(study: Study) -> dict[str, Variant]:
    """Policies of a study by `family/variant`, without the base model."""
    return variants_of(study.policies)


def weighed(study: Study, policy: Variant) -> list[str]:
    """The values that a policy's λ may weigh: those of its palette, or that it names itself."""
    return list(study.palettes[policy.palette] if policy.palette else policy.values)


def scorer(study: Study, value: str) -> dict[str, Any]:
    """What a value's rewards depend on, JSON-ready: its entry without label and unit.

    A model, template, dtype or device that the entry leaves to the study is filled in.
    """
    spec = study.values[value]
    settings = spec.model_dump(exclude={"label", "unit"})
    if isinstance(spec, ModelSpec) and not spec.model and study.model is not None:
        base = study.model.model_dump()
        settings |= {"model": base.pop("source"), "revision": base.pop("revision")}
        settings |= {key: base[key] for key in base if key not in spec.model_fields_set}
        if settings.get("template", "") is None:
            settings["template"] = study.prompts.template
    return settings


def columns(study: Study) -> dict[str, str]:
    """Value → column of the table that `rewards` names."""
    return {name: spec.model_dump().get("column") or name for name, spec in study.values.items()}


def labels(study: Study) -> dict[str, str]:
    """Value → its name on axes and in tables."""
    return {name: spec.label or name for name, spec in study.values.items()}


def raised(study: Study) -> list[str]:
    """The values that some palette raises: asks for another level than the mean; in order."""
    asked = {
        value
        for levels in study.palettes.values()
        for value, level in levels.items()
        if level != "mean"
    }
    return [value for value in study.values if value in asked]


def maintained(study: Study) -> list[str]:
    """The values that palettes name only to keep them at their mean, in order."""
    named = {value for levels in study.palettes.values() for value in levels}
    return [value for value in study.values if value in named and value not in raised(study)]


def chosen(study: Study) -> list[str]:
    """The values in which a policy has to be better: as given, or raised, or all that may be in λ.

    In the order of the config.
    """
    given = study.evaluation.values or raised(study)
    kept = [value for value in study.values if value not in study.evaluation.evaluate_only]
    return [value for value in study.values if value in given] or kept


def explored(study: Study) -> list[str]:
    """The values that λ may weigh: those in palettes (all without palettes), raised ones first."""
    named = {value for levels in study.palettes.values() for value in levels} or set(study.values)
    order = [*raised(study), *(value for value in study.values if value not in raised(study))]
    only = study.evaluation.evaluate_only
    return [value for value in order if value in named and value not in only]


def traded(study: Study) -> list[str]:
    """The values whose fronts are drawn: the first three chosen ones that λ may weigh."""
    return [value for value in chosen(study) if value in explored(study)][:3]


def log_probabilities(study: Study) -> list[str]:
    """The values whose rewards are logs of probabilities."""
    return [
        name
        for name, spec in study.values.items()
        if getattr(spec, "output", None) == "log_probability"
    ]


def slack(study: Study) -> float:
    """How far below one half a win rate may be and still count as navigable."""
    given = study.evaluation.slack
    return SLACKS[given] if isinstance(given, str) else given
