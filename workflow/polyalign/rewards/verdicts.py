"""How the answer of a judge is read: rules that say of every answer what it is, or that it is none.

An answer that could be read in two ways is not read.
"""

import json
import re
from math import inf, isfinite
from typing import Any, Literal

from polyalign.rewards.judging import NoVerdictError

Rule = Literal["json", "last number"]

AROUND = "*_`'\"“”()[]{}<>.,;!?"
"""Signs around a word that do not belong to it."""

BOUNDS = ("/", "of", "to", "from", "than")
"""Words before a number that is a bound of the scale, or compared with, and no score."""


def score(text: str, rule: Rule, low: float, high: float) -> float:
    """The number that an answer gives.

    Args:
        text: the answer.
        rule: `json`: the number `score` of the last JSON object in the answer. `last number`: the
            last word of the answer with a digit in it, which must be a number and nothing else.
        low: least number that is a score.
        high: greatest number that is one.

    Raises:
        NoVerdictError: if there is no such number, or it is out of bounds.
    """
    number = _of_json(text) if rule == "json" else _last(text)
    if not isfinite(number) or not low <= number <= high:
        raise NoVerdictError(f"{number:g} is not between {low:g} and {high:g}: {text[-200:]!r}")
    return number


def _of_json(text: str) -> float:
    found = last_object(text)
    number = None if found is None else found.get("score")
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise NoVerdictError(f"no JSON object with a number `score`: {text[-200:]!r}")
    try:
        return float(number)
    except OverflowError:
        return inf


def last_object(text: str) -> dict[str, Any] | None:
    """The last JSON object of a text that is in no other one; None without any."""
    decoder, found, at = json.JSONDecoder(), None, text.find("{")
    while at >= 0:
        try:
            read, end = decoder.raw_decode(text, at)
            found = read
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)
    return found


def _words(text: str) -> list[str]:
    """The words of a text, without the signs around them."""
    words = (word.strip(AROUND) for word in re.split(r"[\s:=]+", text))
    return [word for word in words if word]


def preferred(text: str) -> Literal["A", "B", "tie"]:
    """The better answer of two, A or B, by the last word of an answer: `A`, `B` or `tie`.

    Raises:
        NoVerdictError: if the last word is another, or the last line names both A and B.
    """
    if {"A", "B"} <= set(_words(text.strip().rpartition("\n")[2])):
        raise NoVerdictError(f"its last line names both A and B: {text[-200:]!r}")
    last = (_words(text) or [""])[-1]
    if last == "A":
        return "A"
    if last == "B":
        return "B"
    if last.lower() == "tie":
        return "tie"
    raise NoVerdictError(f"its last word is not A, B or tie: {text[-200:]!r}")


def _last(text: str) -> float:
    """The last number of a text; `8/10`, `8 out of 10`, `8, from 1 to 10` and `1,000` are none."""
    words = _words(text)
    place = max((n for n, word in enumerate(words) if re.search(r"\d", word)), default=None)
    word = "" if place is None else words[place]
    before = words[place - 1].lower() if place else ""
    if before in BOUNDS or not re.fullmatch(r"[-+]?\d+(\.\d+)?", word):
        raise NoVerdictError(f"it ends with no number that stands alone: {text[-200:]!r}")
    return float(word)
