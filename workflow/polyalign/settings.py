"""What every section of the config is made of: the strict base class and the shared types.

Value kinds, families of policies and the config itself build on this module; it imports nothing
heavy. A validator here raises ValueError with "what is wrong; what was expected; the mend".
"""

import math
import re
import unicodedata
from collections.abc import Callable
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

CHAT = "chat"
"""The template that stands for the chat template of the model's own tokenizer."""

ALPACA = "alpaca"
"""The template that stands for Alpaca's, which has a place for an input."""

LONGEST_SHOWN = 40
"""Letters of a label: a longer one leaves no room for what it names."""

NAME = r"(?!.*(--|\.\.|\.git$))[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"


class Strict(BaseModel):
    """A section of the config: no unknown keys, no converted types, no changes afterwards.

    Every field has a description (`Field(description=...)`), which becomes its row in
    docs/config.md; a class that lacks one cannot be defined. Use `list`, not `tuple`: YAML has no
    tuples and nothing is converted.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=()
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        bare = [
            name
            for name in cls.model_fields
            if not any(
                parent.model_fields[name].description
                for parent in cls.__mro__
                if issubclass(parent, BaseModel) and name in parent.model_fields
            )
        ]
        if bare:
            raise TypeError(f"{cls.__module__}.{cls.__name__}: no description: {', '.join(bare)}")


def _name(text: str) -> str:
    """Return `text` if it can name a folder and a hub repository."""
    if not re.fullmatch(NAME, text):
        raise ValueError(
            f"{text!r} cannot name a folder and a hub repository; expected 1 to 96 letters, "
            "digits, '_', and within them '-' and '.', but no '--', '..' or '.git' at the end; "
            "rename it"
        )
    return text


def fields(template: str) -> set[str]:
    """Names of the fields of a template; braces of the text itself are written twice.

    Raises:
        ValueError: if a brace is not closed.
    """
    try:
        return {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as fault:
        raise ValueError(
            f"the template cannot be read ({fault}); expected fields as {{name}}; "
            "write a brace of the text itself twice"
        ) from fault


def _template(template: str, needed: str, known: set[str]) -> str:
    found = fields(template)
    listed = " and ".join(f"{{{name}}}" for name in sorted(known))
    if unknown := found - known:
        raise ValueError(
            f"the template has an unknown field {{{min(unknown)}}}; expected {listed}; "
            "correct the name, or write the brace twice if it is text"
        )
    if needed not in found:
        raise ValueError(
            f"the template has no {{{needed}}}; expected {listed}; put {{{needed}}} where the "
            f"{needed} belongs"
        )
    return template


def _prompt_template(template: str) -> str:
    named = template in (CHAT, ALPACA)
    return template if named else _template(template, "prompt", {"prompt"})


def _response_template(template: str) -> str:
    return template if template == CHAT else _template(template, "response", {"prompt", "response"})


def asks_about(*needed: str) -> Callable[[str], str]:
    """A validator of a question: text with these fields, and {prompt} or not."""

    def check(question: str) -> str:
        for name in needed:
            _template(question, name, {*needed, "prompt"})
        return question

    return check


def looks_like_number(text: str) -> str | None:
    """`text` written as YAML reads a number, or None if it is no number.

    YAML reads `1e-6` as text: a number needs a point before its exponent, and a sign in it.
    """
    found = re.fullmatch(r"([-+]?\d*)(\.\d*)?(?:[eE]([-+]?)(\d+))?", text.strip())
    if not found or not re.search(r"\d", (found[1] or "") + (found[2] or "")):
        return None
    whole, fraction, sign, exponent = found.groups()
    if exponent is None:
        return f"{whole}{fraction or ''}"
    return f"{whole or '0'}{fraction or '.0'}e{sign or '+'}{exponent}"


def unique(items: list[Any]) -> list[Any]:
    """Return `items` if each stands there once."""
    twice = [item for index, item in enumerate(items) if item in items[:index]]
    if twice:
        raise ValueError(f"{twice[0]!r} stands twice; expected each once; remove one")
    return items


def _weights(weights: dict[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    if abs(total - 1.0) > 1e-6:
        raise ValueError(f"the weights sum to {total:g}; expected 1; change them")
    return weights


def _lam(lam: dict[str, float]) -> dict[str, float]:
    if not any(lam.values()):
        raise ValueError("every λ is 0, which is the base model; expected one above 0; change it")
    return lam


def _shown(text: str) -> str:
    """Return `text` if figures, tables, LaTeX and pages can all show it, on one line."""
    if text and not text.strip():
        raise ValueError(
            f"{text!r} is blank; expected a text that can be seen; write one, or leave it out"
        )
    if len(text) > LONGEST_SHOWN:
        raise ValueError(
            f"{text[:20]!r}… has {len(text)} letters; expected at most {LONGEST_SHOWN}, since it "
            "stands on axes and heads of columns; shorten it"
        )
    for letter in text:
        kind = _cannot_show(letter)
        if kind:
            raise ValueError(
                f"{text!r} has {kind} (U+{ord(letter):04X}); expected letters and signs that "
                "figures can draw on one line, from left to right (Latin, Greek, Cyrillic and "
                "common symbols); rewrite it"
            )
    return text


def _cannot_show(letter: str) -> str:
    """What keeps a character out of figures and tables, in words; empty if nothing does."""
    if letter.isascii() and letter.isprintable():
        return ""
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return "a line end or another character that cannot be seen"
    if unicodedata.bidirectional(letter) in ("R", "AL", "AN"):
        return "a letter that is written from right to left"
    return "" if _in_font(ord(letter)) else "a character that the font of the figures lacks"


def _in_font(code: int) -> bool:
    """Whether the font of the figures, which comes with Matplotlib, has a character."""
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    return code in FT2Font(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf").get_charmap()


Name = Annotated[str, AfterValidator(_name)]
"""A name that becomes a folder, and a hub repository (see `_name`)."""

Shown = Annotated[str, AfterValidator(_shown)]
"""A text that readers see in figures and tables (see `_shown`); empty stands for a default."""

PromptTemplate = Annotated[str, AfterValidator(_prompt_template)]
"""Text around a prompt: has `{prompt}` and no other field; or `chat`, or `alpaca`."""

ResponseTemplate = Annotated[str, AfterValidator(_response_template)]
"""Text that a reward model reads: has `{response}`, may have `{prompt}`, no other; or `chat`."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A number in [0, 1]."""

Positive = Annotated[float, Field(gt=0)]
"""A number above 0."""

Count = Annotated[int, Field(ge=1)]
"""A whole number, at least 1."""

Weights = Annotated[dict[str, Share], Field(min_length=1), AfterValidator(_weights)]
"""Names with their weights in [0, 1], which sum to 1."""

Lam = Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1), AfterValidator(_lam)]
"""Values with their weights λ ≥ 0, one of them above 0."""

Names = Annotated[list[str], Field(min_length=1), AfterValidator(unique)]
"""At least one name, each once."""

Numbers = Annotated[list[Positive], Field(min_length=1), AfterValidator(unique)]
"""At least one number above 0, each once."""


Trim = Literal["sentence"] | None
"""What becomes of the text of a response that the token limit ended."""


class SamplingRule(Strict):
    """How a policy samples: part of what the policy is."""

    temperature: Positive = Field(default=1.0, description="Divides the logits.")
    top_k: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Sample among this many most likely tokens; 0: no limit."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="Sample among the most likely tokens of this total probability."
    )
    max_new_tokens: Count = Field(default=128, description="Longest response, in tokens.")
    trim: Trim = Field(
        default=None,
        description="`sentence` cuts a response that the token limit ended back to its last whole "
        "sentence, if it has one; tokens and log-probabilities stay those of what was drawn.",
    )
