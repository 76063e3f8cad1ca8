"""Cards of the reward models that a study trains, as tables of its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from polyalign.report.html_tables import Cell, number, percent, table
from polyalign.report.text import short

EXPLAINED = (
    "How far the rewards that the study trained agree with people, on texts that were held out "
    "from them, with 95 % intervals over groups of texts. ρ is Spearman's correlation of the "
    "model's output with what people say. AUC is the share of the pairs of texts with unlike "
    "labels that it puts in the right order: 0.5 is chance. The ceiling is what a perfect model "
    "would reach, since people disagree; one person is the correlation of one rater with the "
    "others' mean. The calibration error is the mean difference between what the model foretells "
    "and what people say, in the units of the labels. The last column is Spearman's correlation of "
    "the output with the number of words."
)


def cards_html(cards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Tables of all cards; nothing if there are none.

    Args:
        cards: name of a reward model → its card (`polyalign.train.card`).
    """
    if not cards:
        return []
    judged = [row for name, card in cards.items() for row in _outputs(name, card)]
    head = ["Reward model", "Held out", "ρ", "Ceiling of ρ", "One person", "AUC", "Ceiling of AUC"]
    head += ["Accuracy", "Calibration error", "ρ with length"]
    trained = [_trained(name, card["trained_on"]) for name, card in cards.items()]
    return [
        "<h3>Rewards and people</h3>",
        f"<p>{EXPLAINED}</p>",
        table(head, judged, search=False),
        table(["Reward model", "Base", "Data", "Number", "How"], trained, search=False),
    ]


def _outputs(name: str, card: Mapping[str, Any]) -> list[list[str | Cell]]:
    """A row for each output of a model."""
    ceiling = card["ceiling"] or {}
    limits: list[Cell] = [
        (ceiling_text(card), ceiling.get("rho", float("nan"))),
        _plain(ceiling.get("one_rater")),
    ]
    error = number(card["calibration"]["error"])
    if card["kind"] == "pairs":
        said = f"{card['pairs']} pairs"
        accuracy = _ranged(card["accuracy"])
        return [
            [name, said, *[_plain(None)] * 5, accuracy, error, _plain(card["rho_length"])],
        ]
    several = len(card["agreement"]) > 1
    accuracy = percent(card["accuracy"]) if "accuracy" in card else _plain(None)
    return [
        [
            f"{name}: {output}" if several else name,
            f"{card['texts']} texts",
            _ranged(found["rho"]),
            *limits,
            _ranged(found["auc"]),
            _plain(ceiling.get("auc")),
            accuracy,
            error,
            _plain(found["rho_length"]),
        ]
        for output, found in card["agreement"].items()
    ]


def ceiling_text(card: Mapping[str, Any]) -> str:
    """The ceiling of ρ, with the number of texts that it rests on where that is not all of them."""
    found = card["ceiling"]
    if found is None:
        return "–"
    few = f" ({found['texts']} texts)" if found["texts"] < card["texts"] else ""
    return f"{found['rho']:.2f}{few}"


def _ranged(found: Sequence[float]) -> Cell:
    estimate, low, high = found
    return f"{estimate:.2f} [{low:.2f}, {high:.2f}]", estimate


def _plain(found: float | None) -> Cell:
    return ("–", float("nan")) if found is None else (f"{found:.2f}", found)


def _trained(name: str, on: Mapping[str, Any]) -> list[str | Cell]:
    how = f"{on['epochs']} epoch{'s' * (on['epochs'] > 1)}, step size {short(on['learning_rate'])}"
    drawn = "" if on["resample"] is None else f", resample {on['resample']}"
    return [name, on["base"], on["data"], number(on["number"]), f"{how}, seed {on['seed']}{drawn}"]
