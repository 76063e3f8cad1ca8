"""Faults of a config, in words: where, what is wrong, what was expected, and the mend."""

import re
import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from polyalign.errors import InputError, nearest
from polyalign.settings import looks_like_number
from polyalign.study.yaml_lines import Key, Source, place, written

EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
}
BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


class ConfigError(InputError):
    """All faults of a config at once, one a line."""


@dataclass(frozen=True)
class Fault:
    """One fault: the key, and "what is wrong; what was expected; the mend"."""

    key: Key
    text: str


def report(faults: Iterable[Fault], config: Any, sources: list[Source]) -> str:
    """The faults, one a line, in the order of the files: `FILE:LINE: key: text`."""
    order = {source.name: index for index, source in enumerate(sources)}
    lines = []
    for fault in dict.fromkeys(faults):
        at = place(fault.key, config, sources)
        if at is None and fault.key and len(sources) == 1 and fault.key[:1][0] not in config:
            at = (sources[0].name, 1)
        rank = (order[at[0]], at[1]) if at else (-1, 0)
        where = f"{at[0]}:{at[1]}: " if at else ""
        key = f"{written(fault.key)}: " if fault.key else ""
        lines.append((rank, f"{where}{key}{fault.text}"))
    return "\n".join(line for _, line in sorted(lines, key=lambda item: item[0]))


def unknown(name: Any, what: str, known: Collection[str]) -> str:
    """Text of a fault: `name` is none of the known names."""
    listed = f"one of {', '.join(sorted(known))}" if known else f"a {what} (there is none yet)"
    return f"no {what} {name!r}; expected {listed}; {nearest(name, known)}"


def from_pydantic(error: ErrorDetails, prefix: Key, model: Any) -> Fault:
    """The fault that an error of pydantic stands for.

    Args:
        error: one of `ValidationError.errors()`.
        prefix: key of what was validated.
        model: its type, in which the known names of an unknown key are found.
    """
    loc = tuple(part for part in error["loc"] if part != "[key]")
    key, kind, given = (*prefix, *loc), error["type"], error["input"]
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "extra_forbidden":
        holder = type_at(model, loc[:-1])
        known = list(holder.model_fields) if _is_model(holder) else []
        return Fault(key, unknown(key[-1], "key", known))
    if kind == "missing":
        holder = type_at(model, loc[:-1])
        about = holder.model_fields[loc[-1]].description if _is_model(holder) else ""
        return Fault(key, f"missing; expected {_lower(about)}; add it")
    if kind == "value_error":
        return Fault(key, str(context["error"]))
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'|(-?\d+)", context["expected"])
        names = [text or number for text, number in options]
        if given in (True, False) or given is None:
            mend = f"write {names[0]!r} or another of them"
        else:
            mend = nearest(given, names)
        return Fault(key, f"{given!r} is unknown; expected one of {', '.join(names)}; {mend}")
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        return Fault(key, f"{given!r}; expected {words} {context[name]:g}; change it")
    if kind == "too_short":
        what = "key" if isinstance(given, dict) else "entry"
        return Fault(key, f"is empty; expected at least one {what}; add one or remove the key")
    if kind in EXPECTED:
        return Fault(key, _wrong_type(given, EXPECTED[kind]))
    if kind == "finite_number":
        return Fault(key, f"{given!r}; expected a finite number; change it")
    return Fault(key, f"{given!r}: {error['msg']}; expected another value; change it")


def _wrong_type(given: Any, expected: str) -> str:
    """Text of a fault: a value of another type, and how YAML came to it."""
    if given is None:
        return f"is empty; expected {expected}; give a value or remove the key"
    if isinstance(given, str) and "number" in expected:
        number = looks_like_number(given)
        if number is not None and not (expected == "a whole number" and "." in number):
            mend = f"write {number}" + ("" if number != given else " without quotes")
            return f"{given!r} is read as text; expected {expected}; {mend}"
    if isinstance(given, float) and expected == "a whole number" and given.is_integer():
        return f"{given!r}; expected {expected}; write {given:.0f}"
    if expected == "text" and isinstance(given, bool | int | float):
        read = str(given).lower() if isinstance(given, bool) else f"the number {given!r}"
        return f"is read as {read}; expected text; put it in quotes"
    if isinstance(given, bool):
        read = "true" if given else "false"
        return f"is read as {read}; expected {expected}; write {expected}"
    names: dict[type, str] = {str: "text", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "keys with values"}
    what = names.get(type(given), type(given).__name__)
    shown = f"{given!r} is {what}" if not isinstance(given, dict | list) else f"is {what}"
    return f"{shown}; expected {expected}; change it"


def _lower(about: str | None) -> str:
    text = (about or "a value").rstrip(".")
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def type_at(kind: Any, loc: Key) -> Any:
    """Type of what stands at `loc` in a `kind`: through models, lists, mappings and options."""
    kind = _plain(kind)
    for part in loc:
        if _is_model(kind):
            kind = kind.model_fields[part].annotation
        else:
            kind = (get_args(kind) or (Any,))[-1]
        kind = _plain(kind)
    return kind


def _plain(kind: Any) -> Any:
    """`kind` without `Annotated` and `None`."""
    if hasattr(kind, "__metadata__"):
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _plain(next(part for part in get_args(kind) if part is not type(None)))
    return kind
