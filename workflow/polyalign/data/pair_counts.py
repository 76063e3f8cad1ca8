"""What a reader of the counts of preference pairs must know."""

from collections.abc import Mapping

LOST = {
    "malformed": "hold no two readable responses to a prompt",
    "asked": "differ in what was asked",
    "tied": "have no better response",
    "alone": "are one response alone",
    "equal": "have twice the same response",
}
"""Count of rows that cannot be used → why."""

COUNTS = ("read", *LOST, "kept", "later_turn", "goes_on", "tools", "cut")
"""The counts of a data set (see `preferences.Pairs`)."""


def lost_of(counts: Mapping[str, int]) -> list[str]:
    """How many rows cannot be used, by reason."""
    return [f"{counts[name]} {why}" for name, why in LOST.items() if counts.get(name)]


def said_of(counts: Mapping[str, int]) -> list[str]:
    """What a reader of a data set's counts must know, one sentence each; empty if all is well.

    Args:
        counts: `Pairs.counts`.
    """
    said, kept = [], counts["kept"]
    if why := lost_of(counts):
        lost = sum(counts.get(name, 0) for name in LOST)
        said.append(f"{lost} of {counts['read']} pairs cannot be used: {', '.join(why)}")
    for name, meaning in (
        ("later_turn", "differ in a later turn: their prompt is the dialogue before it"),
        ("goes_on", "are of conversations that go on: what follows the response is left out"),
        ("tools", "had messages of tools, which are left out"),
        ("cut", "are cut to max_words; no end token follows a response that was cut"),
    ):
        if counts.get(name):
            said.append(f"{counts[name]} of {kept} pairs {meaning}")
    return said
