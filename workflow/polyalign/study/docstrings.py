"""What sections of the config and figures say of themselves: their docstrings, read once, here.

A docstring begins with one sentence, which stands alone on the report's first page. Its first
paragraph is what the methods text says. A line `Reference: Author: Title. Venue, year.` is the
citation; `Reference, with algorithm grpo: …` replaces it where the setting `algorithm` is `grpo`. A
reference may go on in the next lines. No job imports this module: the hash of a job's code leaves
docstrings out, so jobs get these sentences as settings.
"""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

REFERENCE = re.compile(
    r"^Reference(?:, with (?P<setting>\w+) (?P<choice>\S+))?: "
    r"(?P<work>.+(?:\n(?!Reference\b).+)*)\n?",
    re.MULTILINE,
)


def prose(model: type[BaseModel]) -> str:
    """The docstring of a section without its references: paragraphs between empty lines."""
    return REFERENCE.sub("", _stripped(model)).strip()


def first_paragraph(model: type[BaseModel]) -> str:
    """The first paragraph of a section's docstring, on one line."""
    return " ".join(prose(model).split("\n\n")[0].split())


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, without its stop; a question keeps its mark."""
    line = " ".join(text.split())
    found = re.match(r".*?(?:\?(?=\s|$)|(?=\.(?:\s|$)))", line)
    return found[0] if found else line


def references(section: BaseModel) -> list[str]:
    """The works that a section cites, then those of the sections within it that are given."""
    plain, chosen = [], []
    for work, setting, choice in _references(type(section)):
        if setting is None:
            plain.append(work)
        elif str(section.model_dump()[setting]) == choice:
            chosen.append(work)
    inner = [getattr(section, name) for name in type(section).model_fields]
    within = [work for part in inner if isinstance(part, BaseModel) for work in references(part)]
    return list(dict.fromkeys([*(chosen or plain), *within]))


def reference_lines(model: type[BaseModel]) -> list[str]:
    """The lines of references in a section's docstring, each as it is there, whole."""
    return [" ".join(found[0].split()) for found in REFERENCE.finditer(_stripped(model))]


def _stripped(model: type[BaseModel]) -> str:
    return "\n".join(line.strip() for line in (model.__doc__ or "").splitlines())


def _references(model: type[BaseModel]) -> Iterator[tuple[str, str | None, str | None]]:
    for found in REFERENCE.finditer(_stripped(model)):
        yield " ".join(found["work"].split()), found["setting"], found["choice"]


def given(section: BaseModel, leave_out: frozenset[str]) -> dict[str, Any]:
    """The settings of a section and of those within it, in their order, without some."""
    settings = {}
    for name, dumped in section.model_dump(exclude=set(leave_out)).items():
        part = getattr(section, name)
        settings[name] = given(part, leave_out) if isinstance(part, BaseModel) else dumped
    return settings


def listed(settings: dict[str, Any]) -> str:
    """Settings on one line, those that are given: `palettes = hhh-60 and hhh-65; draws = 3`."""
    parts = [
        f"{name} ({_text(value)})" if isinstance(value, dict) else f"{name} = {_text(value)}"
        for name, value in settings.items()
        if _given(value)
    ]
    return "; ".join(parts)


def _given(value: Any) -> bool:
    return value not in (None, [], {}, "")


def _text(value: Any) -> str:
    """A setting as text: `a, b and c`, or `harmless: 0.1, helpful: 0.9`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        *most, last = map(_text, value)
        return f"{', '.join(most)} and {last}" if most else last
    if isinstance(value, dict):
        return ", ".join(
            f"{name} ({_text(part)})" if isinstance(part, dict) else f"{name}: {_text(part)}"
            for name, part in value.items()
            if _given(part)
        )
    text = str(value)
    return text if text.split() == [text] else repr(text)
