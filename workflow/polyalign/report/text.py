"""Texts of users and models, safe and visible in every kind of file that a reader opens."""

import math
import re
import unicodedata

JOINERS = "\u200c\u200d"
"""Characters without a picture of their own that words of some languages and emoji need."""

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
    "½": r"$\frac{1}{2}$",
    "–": "--",
    "−": r"$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
    "…": r"\dots{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def visible(text: str) -> str:
    """A text whose invisible characters are named: `⟨U+202E⟩`.

    Control characters (but line ends and tabs), characters that turn the direction of writing,
    those without a width, and those that Unicode does not define would be lost, or change how the
    text around them looks.
    """
    text = text.replace("\r\n", "\n")
    return "".join(
        f"⟨U+{ord(letter):04X}⟩" if hidden(letter) and letter not in "\n\t" else letter
        for letter in text
    )


def hidden(letter: str) -> bool:
    """Whether a character has no picture of its own."""
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and (
        letter not in JOINERS
    )


def answer(text: str | None) -> str:
    """An answer as a reader must see it, also where there is nothing to see."""
    if text is None:
        return "(no text)"
    if not text:
        return "(empty)"
    return visible(text) if text.strip() else f"(blank: {visible(text)!r})"


def one_line(text: str) -> str:
    """A visible text without line ends and tabs."""
    return re.sub(r"\s+", " ", visible(text))


def markdown(text: str) -> str:
    """Text as Markdown shows it in a cell of a table, letter by letter."""
    text = re.sub(r"([\\`*\[\]<>|~$])", r"\\\1", one_line(text))
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
    return re.sub(r"&(?=#?\w+;)", r"\\&", text)


def latex(text: str) -> str:
    """Text as LaTeX prints it, letter by letter (the commands need T1 fonts for the quote)."""
    return "".join(LATEX.get(letter, letter) for letter in one_line(text))


def beyond_pdflatex(text: str) -> bool:
    """Whether LaTeX source has letters that the fonts of pdflatex lack."""
    return any(ord(letter) > 0x17F for letter in text)


def rst(text: str) -> str:
    """Text as reStructuredText shows it in a paragraph, letter by letter."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", one_line(text))


def rounded(level: float, se: float) -> str:
    """A level ± its standard error, to the second figure of the standard error."""
    if not se > 0:
        return short(level)
    digits = max(0, 1 - math.floor(math.log10(se)))
    return f"{level:.{digits}f} ± {se:.{digits}f}"


def ranged(level: float, low: float, high: float) -> str:
    """A number with its 95 % interval, rounded as `rounded` does."""
    if not high > low:
        return short(level) if math.isnan(low) else f"{level:.4g} ({low:.4g} to {high:.4g})"
    digits = max(0, 1 - math.floor(math.log10((high - low) / 4)))
    return f"{level:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def in_percent(share: float, se: float = math.nan) -> str:
    """A share in per cent, ± its standard error if that is known; a dash where it is undefined."""
    if math.isnan(share):
        return "–"
    return f"{100 * share:.1f}" + ("" if math.isnan(se) else f" ± {100 * se:.1f}")


def seeds(sd: float, digits: int) -> str:
    """A standard deviation over seeds, as a cell ends with it; empty without several seeds."""
    return "" if math.isnan(sd) else f", seeds ± {sd:.{digits}f}"


def p_value(p: float) -> str:
    """A p-value to two digits; a small one is not told apart from others that are."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def short(number: float) -> str:
    """A number with four digits; a dash where it is not defined."""
    return "–" if math.isnan(number) else f"{number:.4g}"
