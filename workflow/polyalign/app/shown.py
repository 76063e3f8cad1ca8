"""What the explorer shows, as HTML: all texts are escaped, all colours follow the page's theme."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isfinite

import numpy as np

from polyalign.app.exploring import DrawnBack, FrontView, Move, Problem

MARKS = {"supported": "✓", "unsupported": "!", "infeasible": "✗"}
WORDS = {
    "supported": "Supported: enough samples carry the weight",
    "unsupported": "Feasible, but not supported: too few samples carry the weight",
    "infeasible": "Infeasible: no policy on these samples reaches it",
}
WIDTH, HEIGHT, EDGE = 480, 300, 70
"""Pixels of the picture of a front, and of its margin."""

Labels = Mapping[str, str]


def cell(number: float) -> str:
    """Four digits, as `polyalign solve` prints them; a dash for what is not defined."""
    if not isfinite(number):
        return "-"
    return f"{number:.0f}" if 1e4 <= abs(number) < 1e9 else f"{number:.4g}"


def verdict_html(move: Move, message: str | None = None) -> str:
    """The verdict in words, what it costs, and which values hold it back.

    Args:
        move: what the palette does.
        message: the sentence of `polyalign solve`, where it is known better than in `move`.
    """
    kind = move.verdict
    parts = [
        f'<p class="pa-verdict pa-{kind}"><span aria-hidden="true">{MARKS[kind]}</span> '
        f"{WORDS[kind]}</p>",
        f'<p class="pa-message">{escape(message or move.message)}</p>',
    ]
    return _live("".join(parts))


def numbers_html(problem: Problem, move: Move, labels: Labels) -> str:
    """The table of values with bars, the meters of KL and samples, and the prices in words."""
    found = move.solution
    k = len(move.names)
    nothing = np.full(k, np.nan)
    realised = nothing if found is None else found.realised
    lam = nothing if found is None else found.lam
    near = move.interval
    rows = []
    for i, name in enumerate(move.names):
        between = "" if near is None else _between(near.lam_low[i], near.lam_high[i])
        levels = "" if near is None else _between(near.level_low[i], near.level_high[i])
        rows.append(
            f'<tr><th scope="row">{escape(labels.get(name, name))}</th>'
            f'<td class="pa-base-level">{cell(move.base.center[i])}</td>'
            f"<td>{cell(move.target[i])}<small>{escape(move.levels[name])}</small></td>"
            f'<td class="pa-realised">{cell(realised[i])}<small>{levels}</small></td>'
            f'<td class="pa-lam">{cell(lam[i])}<small>{between}</small></td>'
            f'<td class="pa-quantile">{_share(move.realised_share[i])}</td>'
            f"<td>{_bar(problem, move, i, realised[i])}</td></tr>"
        )
    head = "".join(
        f'<th scope="col"{kind}>{title}</th>'
        for title, kind in (
            ("Value", ""),
            ("Base", ' class="pa-base-level"'),
            ("Asked", ""),
            ("Realised", ""),
            ("λ", ""),
            ("Quantile", ' class="pa-quantile"'),
            ("Base to highest", ""),
        )
    )
    table = (
        '<div class="pa-wide" tabindex="0" role="region" aria-label="Levels and λ of each value">'
        '<table class="pa-table"><caption class="pa-hidden">Levels in the rewards\' units, λ in '
        "1 / these units, with 95 % intervals</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    return table + _meters(move) + prices_html(move, labels)


def prices_html(move: Move, labels: Labels) -> str:
    """Which values hold the palette back, and what one more unit of each costs; λ is the price."""
    found = move.solution
    if found is None:
        names = ", ".join(escape(labels.get(name, name)) for name in move.conflict)
        return f"<p><b>In the way:</b> {names}. Lower one of them, or draw the palette back.</p>"
    if not (found.lam > 0).any():
        return "<p>Nothing is asked that the base policy does not give: λ is 0 and it is free.</p>"
    per_sd = found.lam * move.base.scale
    most = int(per_sd.argmax())
    label = escape(labels.get(move.names[most], move.names[most]))
    items = []
    for i in np.argsort(-per_sd, kind="stable"):
        name = escape(labels.get(move.names[i], move.names[i]))
        if found.lam[i] > 0:
            items.append(
                f"<li>{name}: one more unit costs {cell(found.lam[i])} nats, "
                f"one more standard deviation {cell(per_sd[i])}</li>"
            )
        else:
            items.append(f"<li>{name}: free, the others bring it along</li>")
    return (
        f"<p><b>In the way:</b> {label} has the highest price. λ is the price: the KL that one "
        f'more unit costs, for a small step.</p><ul class="pa-prices">{"".join(items)}</ul>'
    )


def compared_html(rows: Sequence[tuple[str, str, Move]], labels: Labels) -> str:
    """The same palette on several tables and in both scopes, side by side."""
    names = rows[0][2].names
    head = "".join(
        f'<th scope="col">{escape(title)}</th>'
        for title in ("Table", "Scope", "Verdict", "KL", *(f"λ {labels.get(n, n)}" for n in names))
    )
    body = []
    for table, scope, move in rows:
        found = move.solution
        lam = ["-"] * len(names) if found is None else [cell(number) for number in found.lam]
        kl = "-" if found is None else cell(found.kl)
        cells = "".join(f"<td>{text}</td>" for text in (move.verdict, kl, *lam))
        body.append(f'<tr><th scope="row">{escape(table)}</th><td>{scope}</td>{cells}</tr>')
    return (
        '<div class="pa-wide" tabindex="0" role="region" aria-label="The palette on each table '
        f'and in each scope"><table class="pa-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def drawn_back_html(back: DrawnBack, move: Move, labels: Labels) -> str:
    """What a palette gave up to be supported."""
    if back.share >= 1.0:
        return _live("<p>The palette is supported as it is: nothing is given up.</p>")
    items = [
        f"<li>{escape(labels.get(name, name))}: {cell(lost)} given up, "
        f"{cell(asked - lost)} instead of {cell(asked)}</li>"
        for name, lost, asked in zip(move.names, back.given_up, move.target, strict=True)
        if lost > 0
    ]
    return _live(
        f"<p>Drawn back to {100 * back.share:.1f} % of the way from the base levels to what was "
        f"asked, and to the steps of the sliders:</p><ul>{''.join(items)}</ul>"
    )


def list_html(sentences: Iterable[str]) -> str:
    """Sentences as a list; nothing if there are none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences if sentence)
    return f"<ul>{items}</ul>" if items else ""


def text_html(title: str, text: str) -> str:
    """A text to copy, as it is."""
    return (
        f'<h4>{escape(title)}</h4><pre class="pa-text" tabindex="0" role="region" '
        f'aria-label="{escape(title)}">{escape(text)}</pre>'
    )


def fault_html(message: str) -> str:
    """What is wrong with an input."""
    return _live(f'<p class="pa-verdict pa-infeasible">{escape(message)}</p>')


def front_html(view: FrontView | None, labels: Labels) -> str:
    """The front of two values with the base, what is asked and what is realised, as a picture."""
    if view is None:
        return "<p>There is a front where two different values are chosen and KL is spent.</p>"
    first, second = (labels.get(name, name) for name in view.values)
    points = [view.curve, view.base[None], view.asked[None]]
    points += [] if view.realised is None else [view.realised[None]]
    every = np.concatenate(points)
    low, high = every.min(axis=0), every.max(axis=0)
    span = np.where(high > low, high - low, 1.0)

    def place(point: np.ndarray) -> tuple[float, float]:
        x, y = (point - low) / span
        return (
            round(EDGE + x * (WIDTH - EDGE - 24), 1),
            round(HEIGHT - EDGE - y * (HEIGHT - EDGE - 20), 1),
        )

    curve = " ".join(f"{x},{y}" for x, y in map(place, view.curve))
    marks = [_mark(place(view.base), "pa-base", "base")]
    if view.realised is None:
        marks.append(_mark(place(view.asked), "pa-asked", "asked"))
    else:
        # Most palettes get what they ask: two labels would lie on each other.
        apart = np.hypot(*np.subtract(place(view.asked), place(view.realised))) > 24
        marks.append(_mark(place(view.asked), "pa-asked", "asked" if apart else ""))
        both = "realised" if apart else "asked and realised"
        marks.append(_mark(place(view.realised), "pa-now", both))
    told = (
        f"Front of {first} and {second} at {cell(view.kl)} nats, from "
        f"{cell(view.curve[0, 0])}, {cell(view.curve[0, 1])} to "
        f"{cell(view.curve[-1, 0])}, {cell(view.curve[-1, 1])}"
    )
    ends = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{cell(number)}</text>'
        for x, y, anchor, number in (
            (EDGE, HEIGHT - EDGE + 16, "start", low[0]),
            (WIDTH - 24, HEIGHT - EDGE + 16, "end", high[0]),
            (EDGE - 4, HEIGHT - EDGE, "end", low[1]),
            (EDGE - 4, 24, "end", high[1]),
        )
    )
    return (
        f'<figure class="pa-front"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(told)}"><path class="pa-axis" d="M{EDGE} 12V{HEIGHT - EDGE}'
        f'H{WIDTH - 12}"/><polyline class="pa-curve" points="{curve}"/>{"".join(marks)}{ends}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(first)}</text>'
        f'<text transform="translate(14 {HEIGHT / 2 - 20}) rotate(-90)" text-anchor="middle">'
        f"{escape(second)}</text></svg><figcaption>The curve is the most that {cell(view.kl)} nats "
        "buy if these two values alone count.</figcaption></figure>"
    )


def _live(html: str) -> str:
    """A part that a screen reader reads out when it changes."""
    return f'<div role="status" aria-live="polite">{html}</div>'


def _between(low: float, high: float) -> str:
    return f"{cell(low)} to {cell(high)}"


def _share(share: float) -> str:
    return f"q{100 * share:.1f}" if isfinite(share) else "-"


def _bar(problem: Problem, move: Move, i: int, realised: float) -> str:
    """A bar from the base level to the value's own highest level, with a mark at what is asked."""
    low, high = float(move.base.center[i]), float(problem.top[i])
    way = high - low if high > low else 1.0

    def part(level: float) -> float:
        return round(100 * min(1.0, max(0.0, (level - low) / way)), 1)

    got = part(realised) if isfinite(realised) else 0.0
    text = f"realised {got:g} % of the way from base to its own highest level, {cell(high)}"
    return (
        f'<div class="pa-bar" role="img" aria-label="{text}" title="{text}">'
        f'<i style="width:{got}%"></i><b style="left:{part(float(move.target[i]))}%"></b></div>'
    )


def _meters(move: Move) -> str:
    """KL against what can be spent, and the effective samples against all."""
    found = move.solution
    if found is None:
        return ""
    most = move.base.max_kl
    prompt = found.scope == "prompt"
    whose = "selection among the candidates" if prompt else "choosing among all samples"
    size, whole = found.ess, found.n_samples
    each = f" ({cell(found.mean_ess)} per prompt)" if prompt else ""
    return (
        '<div class="pa-meters">'
        + _meter(
            "KL", found.kl, most, f"{cell(found.kl)} of {cell(most)} nats that {whose} can spend"
        )
        + _meter("Samples", size, whole, f"effective {cell(size)}{each} of {whole}")
        + "</div>"
    )


def _meter(title: str, number: float, most: float, text: str) -> str:
    share = round(100 * min(1.0, number / most), 1) if most > 0 else 0.0
    return (
        f'<div class="pa-meter"><span>{title}: {escape(text)}</span>'
        f'<div class="pa-bar" aria-hidden="true"><i style="width:{share}%"></i></div></div>'
    )


def _mark(place: tuple[float, float], kind: str, text: str) -> str:
    x, y = place
    right = x > WIDTH - 130
    return (
        f'<circle class="{kind}" cx="{x}" cy="{y}" r="5"/><text x="{x - 8 if right else x + 8}" '
        f'y="{y - 6}" text-anchor="{"end" if right else "start"}">{text}</text>'
    )
