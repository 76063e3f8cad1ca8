"""Reading a config file with the line of every key, so that a fault can be pointed at."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Key = tuple[Any, ...]
"""Where something stands in the config: mapping keys and list positions, from the top."""

ABSENT = object()


@dataclass
class Source:
    """A config file: its content, the line of every key, and the keys that stand there twice.

    Attributes:
        name: the file as messages call it.
        data: what Snakemake reads from it.
        lines: key → line, from 1.
        twice: repeated keys, with the line of the repetition and of the first one.
        fault: line and problem, if the file is not YAML.
    """

    name: str
    data: Any = None
    lines: dict[Key, int] = field(default_factory=dict)
    twice: list[tuple[Key, int, int]] = field(default_factory=list)
    fault: tuple[int, str] | None = None


def read_source(path: str | Path) -> Source:
    """Read a config file; a fault of YAML is kept in the result.

    A file below the working folder is called by its path from there.

    Raises:
        OSError: if there is no such file.
    """
    path = Path(path)
    below = path.is_absolute() and path.is_relative_to(Path.cwd())
    source = Source(str(path.relative_to(Path.cwd()) if below else path))
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is not None:
            _mark(loader, node, (), source)
            source.data = loader.construct_document(node)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        source.fault = (mark.line + 1 if mark else 1, str(fault.problem or fault.context))
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        source.fault = (1, str(fault).splitlines()[0])
    return source


def _mark(loader: yaml.SafeLoader, node: yaml.Node, key: Key, source: Source) -> None:
    """Record the lines of all that stands below `node`."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            source.lines[(*key, index)] = item.start_mark.line + 1
            _mark(loader, item, (*key, index), source)
    elif isinstance(node, yaml.MappingNode):
        own: dict[Key, int] = {}
        for key_node, value in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    _mark(loader, part, key, source)
                continue
            here = (*key, _hashable(loader.construct_object(key_node, deep=True)))
            line = key_node.start_mark.line + 1
            if here in own:
                source.twice.append((here, line, own[here]))
            own.setdefault(here, line)
            source.lines[here] = line
            _mark(loader, value, here, source)


def _hashable(key: Any) -> Any:
    return key if isinstance(key, str | int | float | bool | None) else str(key)


def value_at(data: Any, key: Key) -> Any:
    """What stands at `key`, or ABSENT."""
    for part in key:
        if isinstance(data, list):
            data = dict(enumerate(data))
        if not isinstance(data, dict) or part not in data:
            return ABSENT
        data = data[part]
    return data


def place(key: Key, config: Any, sources: list[Source]) -> tuple[str, int] | None:
    """File and line of `key`, or of the innermost part of it that stands in a file.

    None if its value comes from elsewhere, such as `--config`.
    """
    for end in range(len(key), 0, -1):
        given = value_at(config, key[:end])
        if given is ABSENT:
            continue
        for source in reversed(sources):
            if key[:end] in source.lines and _same(value_at(source.data, key[:end]), given):
                return source.name, source.lines[key[:end]]
        if end == len(key) and not isinstance(given, dict | list):
            return None
    return None


def _same(left: Any, right: Any) -> bool:
    """Equal, and for scalars of one type; collections may have been merged from several files."""
    if isinstance(left, dict | list) and isinstance(right, dict | list):
        return isinstance(left, dict) == isinstance(right, dict)
    return type(left) is type(right) and bool(left == right)


def walk(data: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """All keys below `data` with their values, mappings and lists included."""
    items: Any = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    for part, value in items:
        yield (*key, part), value
        yield from walk(value, (*key, part))


def written(key: Key) -> str:
    """`key` as messages write it: `prompts.sources[0].path`."""
    text = ""
    for part in key:
        if isinstance(part, int) and not isinstance(part, bool):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text
