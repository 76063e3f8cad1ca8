"""What a reader of the counts of preference pairs must know."""

from collections.abc import Mapping


def said_of(counts: Mapping[str, int]) -> list[str]:
    """What a reader of a data set's counts must know, one sentence each; empty if all is well.

    Args:
        counts: `Pairs.counts`.
    """
    unusable, said = counts["malformed"] + counts["equal"], []
    if unusable:
        chat = f", {counts['chat']} of them lists of chat messages" if counts["chat"] else ""
        said.append(
            f"{unusable} of {counts['read']} pairs cannot be used: {counts['malformed']} are not "
            f"a pair of texts{chat}, and in {counts['equal']} both responses are the same"
        )
    if counts["later_turn"]:
        said.append(
            f"{counts['later_turn']} of {counts['kept']} pairs differ in a later turn: their "
            "prompt is the dialogue before it"
        )
    if counts["cut"]:
        said.append(
            f"{counts['cut']} of {counts['kept']} pairs are cut to max_words; no end token "
            "follows a response that was cut"
        )
    return said
