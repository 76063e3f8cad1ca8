"""From a config to a Study, with all faults at once."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polyalign.study.checks import check
from polyalign.study.messages import ConfigError, Fault, report
from polyalign.study.partial import partial_study
from polyalign.study.study import Study
from polyalign.study.yaml_lines import Source, read_source, written


def load(path: str | Path, changes: Mapping[str, Any] | None = None) -> Study:
    """Read and validate a config file.

    Args:
        path: the file.
        changes: what replaces keys of it, section by section, as `snakemake --config` does.

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
    return _validate(_merged(data, changes or {}), [source])


def _merged(data: Any, changes: Mapping[str, Any]) -> Any:
    """`data` with the changes; mappings are merged key by key."""
    if not isinstance(data, dict):
        return data
    merged = dict(data)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


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
        made = partial_study(config)
        check(made)
        faults: list[Fault] = made.faults
        if faults:
            text.append(report(faults, config, sources))
    if text:
        raise ConfigError("\n".join(text))
    return Study(**made.sections).with_drawn()
