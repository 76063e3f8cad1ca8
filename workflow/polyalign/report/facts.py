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
