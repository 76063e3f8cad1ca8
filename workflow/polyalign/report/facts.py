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

NAMES = {
    "brier": "Brier score",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
}
"""Measure of held-out judgement → its name on the page, where that is another."""

CHANCE = 0.5

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
    if doubt := _chance(judged, record.get("card", {})):
        facts[DOUBT] = doubt.format(number=number)
    chance = "; chance is 0.5" if number.endswith("pairs") else ""
    of_accuracy = f"accuracy (on {number}{chance})"
    for name, fact in judged.items():
        named = of_accuracy if name == "accuracy" else NAMES.get(str(name), str(name))
        facts[named] = fact
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


def _chance(judged: Mapping[str, Any], card: Mapping[str, Any]) -> str | None:
    """What is wrong with a model that knows nothing of what people say; None with any other.

    Of two responses the better one is guessed in half of the pairs. Of texts with and without a
    label half of the pairs are in the right order by chance, however rare the label is.
    """
    nothing = "its scores mean nothing; train it longer or on more data"
    accuracy = judged.get("accuracy", 1.0)
    if card.get("kind", "pairs") == "pairs" and accuracy <= CHANCE:
        return f"it is right for {100 * accuracy:.0f} % of {{number}} held out: {nothing}"
    for name, one in card.get("agreement", {}).items():
        auc, low, _ = one["auc"]
        if low <= CHANCE:
            return (
                f"of two of the {{number}} held out it puts {100 * auc:.0f} % in the right order "
                f"for {name}, and the interval reaches down to {100 * low:.0f} %: {nothing}"
            )
    return None
