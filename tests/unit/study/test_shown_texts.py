"""Labels and units are refused where figures or tables could not show them."""

import pytest
from pydantic import TypeAdapter, ValidationError

from polyalign.settings import LONGEST_SHOWN, Shown

CHECK = TypeAdapter(Shown)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Humor",
        "Humor <wit> & 5 $ | 50 % \\foo",
        "$\\foo$",
        "Ärger λ – ½ ≥",
        "Юмор",
        "Χιούμορ",
        "w" * LONGEST_SHOWN,
    ],
)
def test_what_every_file_can_show_is_taken(text: str) -> None:
    assert CHECK.validate_python(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("two\nlines", r"cannot be seen \(U\+000A\)"),
        ("nul\x00", r"cannot be seen \(U\+0000\)"),
        ("turned \u202e", r"cannot be seen \(U\+202E\)"),
        ("no\u200bwidth", r"cannot be seen \(U\+200B\)"),
        ("مرحبا", r"from right to left \(U\+0645\)"),
        ("你好", r"font of the figures lacks \(U\+4F60\)"),
        ("  ", "is blank"),
        ("w" * (LONGEST_SHOWN + 1), "has 41 letters; expected at most 40"),
    ],
)
def test_what_some_file_could_not_show_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        CHECK.validate_python(text)
