"""What the page says of the models that a study trained, from their manifests."""

from collections.abc import Mapping
from typing import Any

from polyalign.data.pair_counts import said_of

LOST = {
    "cut": "pairs cut to the token limit",
    "left_out": "pairs left out: no room for a response",
    "too_long": "pairs left out: longer than the model takes",
}
"""Count of a training's pairs → what it means."""

DOUBT = "no better than chance"
"""Fact of a model whose judgement of held-out data is worth nothing."""


def model_facts(record: Mapping[str, Any]) -> dict[str, float | str]:
    """Facts of one model by name: its loss, how it does on held-out data, what data were lost.

    Args:
        record: `record` of the model's manifest.
    """
    facts: dict[str, float | str] = {}
    if "loss" in record:
        facts["loss (nats/token)"] = record["loss"]
    judged = dict(record.get("held_out", {}))
    number = next(
        (f"{judged.pop(what)} {what}" for what in ("pairs", "texts") if what in judged), ""
    )
    if (doubt := _chance(judged)) and number:
        facts[DOUBT] = doubt.format(number=number)
    for name, fact in judged.items():
        facts[f"{name} (on {number})" if name == "accuracy" else name] = fact
    sets = {**record.get("read", {})}
    sets |= {f"{name}, held out": counts for name, counts in record.get("read_test", {}).items()}
    for name, counts in sets.items():
        if said := said_of(counts):
            facts[f"data: {name}"] = "; ".join(said)
    counts = record.get("counts", {})
    for name, meaning in LOST.items():
        if counts.get(name):
            facts[meaning] = counts[name]
    return facts


def _chance(judged: Mapping[str, Any]) -> str | None:
    """What is wrong with an accuracy that a constant answer has too; None if it is above that.

    Of two responses the better one is guessed in half of the pairs; of labelled texts, the more
    frequent label is right without reading them.
    """
    positive = float(judged.get("positive", 0.5))
    accuracy, chance = float(judged.get("accuracy", 1.0)), max(positive, 1 - positive)
    if accuracy > chance:
        return None
    return (
        f"it is right for {100 * accuracy:.0f} % of {{number}} held out, and a constant answer for "
        f"{100 * chance:.0f} %: its scores mean nothing; train it longer or on more data"
    )
