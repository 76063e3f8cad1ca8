"""The study on one HTML page that needs no other file: verdicts, tables, samples side by side."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from polyalign.data.cut_off import cut_warning
from polyalign.errors import InputError
from polyalign.evaluate.clusters import check_columns, judged_rows
from polyalign.families import BASE
from polyalign.palettes.record import Palette
from polyalign.report.html_tables import number, page, percent, printed, short, table
from polyalign.report.tables import families as families_table


@dataclass(frozen=True)
class Answer:
    """One policy's answer to a prompt (None in a table without texts), and its reward by value."""

    policy: str
    response: str | None
    rewards: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """One prompt and the answers of all policies to it."""

    prompt: str
    answers: list[Answer]


def side_by_side(
    frames: Mapping[str, pd.DataFrame], values: Sequence[str], *, prompts: int = 5
) -> list[Sample]:
    """Answers of all policies to the same test prompts.

    They are not picked by hand: they are the first test prompts by `prompt_id` (a hash of the
    text), and the answer of each policy with the lowest `candidate`.

    Args:
        frames: policy → rewards table, in the order of the answers.
        values: values whose rewards are shown.
        prompts: how many prompts.

    Raises:
        InputError: if a table has no test row, lacks a value, or the policies share no prompt.
    """
    first = {}
    for policy, frame in frames.items():
        rows = judged_rows(frame)
        check_columns(rows, list(values), f"the rewards table of {policy}")
        rows = rows.sort_values(["prompt_id", "candidate"], kind="stable")
        first[policy] = rows.drop_duplicates("prompt_id").set_index("prompt_id")
    shared = set.intersection(*(set(rows.index) for rows in first.values()))
    if not shared:
        raise InputError(
            "the policies have no test prompt in common; expected all of them to answer the same "
            "prompts: generate their samples again"
        )
    samples = []
    for prompt_id in sorted(shared)[:prompts]:
        answers = [
            Answer(
                policy,
                str(rows["response"][prompt_id]) if "response" in rows else None,
                {value: float(rows[value][prompt_id]) for value in values},
            )
            for policy, rows in first.items()
        ]
        prompt = next(iter(first.values()))["prompt"][prompt_id]
        samples.append(Sample(str(prompt), answers))
    return samples


@dataclass(frozen=True)
class PageContent:
    """What the page shows besides the summary and the palettes.

    Attributes:
        study: name of the study.
        left_out: a sentence on the policies that are left out; empty if none is.
        labels: value → its name.
        chosen: the values in which a policy has to be better.
        opponent: the policy that win rates compare with.
        families: table of `polyalign.evaluate.navigation.families`.
        facts: model → what is known of it (`{"reward/helpful": {"accuracy": 0.95}}`).
        samples: answers to the same prompts; empty where the study has no texts.
        methods: paragraphs on how it was done.
        citations: the works that the study rests on.
    """

    study: str
    left_out: str
    labels: Mapping[str, str]
    chosen: Sequence[str]
    opponent: str
    families: pd.DataFrame
    facts: Mapping[str, Mapping[str, Any]]
    samples: Sequence[Sample]
    methods: Sequence[str]
    citations: Sequence[str]


def summary_html(
    content: PageContent, summary: pd.DataFrame, palettes: Mapping[str, Palette]
) -> str:
    """The page.

    Args:
        content: the study.
        summary: table of `polyalign.evaluate.summary.summary`.
        palettes: name → solved palette.

    Returns:
        HTML that loads nothing from anywhere; tables sort by a click and filter by typing.
    """
    labels = content.labels
    answer = outcome(summary, labels=labels, chosen=content.chosen, opponent=content.opponent)
    sections = [
        f"<h1>Study {escape(content.study)}</h1>",
        "<h2>What was asked, and can it be reached?</h2>",
        f"<p>{escape(_question(summary, labels))}</p>",
        *(_verdict(palette, labels) for palette in palettes.values()),
        "<h2>Which policies are better?</h2>",
        f"<p>{escape(answer)}</p>",
        *([f'<p class="unsupported">{escape(content.left_out)}</p>'] if content.left_out else []),
        *_cut_off(summary),
        "<p>P(win) + ½ P(tie) in per cent with its 95 % interval, over all pairs of answers to the "
        "same prompt: 50 is as good as the opponent. The last column is the p-value of being "
        "better in all chosen values at once.</p>",
        _winrates(summary, labels),
        "<h2>What was delivered?</h2>",
        "<p>Levels are mean rewards on test prompts, which were not used to fit a palette; ± is "
        "the standard error, clustered by prompt. The share of the gain is left out where the "
        "asked gain is within two standard errors of the base level.</p>",
        _delivered(summary, labels, palettes),
        "<h2>Families</h2>",
        "<p>A policy is navigable if its win rates are at most the slack below one half in all "
        "chosen values. By levels it is navigable if its levels are at most the slack below the "
        "base levels, in standard deviations of the base model's rewards. The hypervolume is that "
        "of the family's front, which is chosen on one half of the prompts and measured on the "
        "other half. Brackets show 95 % intervals over prompts.</p>",
        printed(families_table(content.families), search=False),
        *_side_by_side(content.samples, labels),
        "<h2>Diagnostics</h2>",
        "<p>Seconds are those of a policy's own training, sampling and scoring. Work that all "
        "policies share is not attributed to any of them.</p>",
        _diagnostics(summary),
    ]
    if palettes:
        sections += [
            "<h3>Diagnostics of each λ</h3>",
            "<p>λ is that of the solution, with its 95 % interval clustered by prompt. Training "
            "and guided sampling use the λ in the fifth column. The predicted level is that of "
            "the solution on test prompts. Re-weighting is the share of a joint gain that would "
            "only come from choosing prompts, which no policy can do. KKT is the largest residual "
            "of the optimality conditions. A Pareto k above 0.7 says that the tail of the weights "
            "is too heavy to trust the levels.</p>",
            _worth(palettes, labels),
        ]
    if content.facts:
        sections += ["<h3>The models behind the numbers</h3>", _facts(content.facts)]
    sections += [
        "<h2>How it was done</h2>",
        *(f"<p>{_with_code(paragraph)}</p>" for paragraph in content.methods),
        "<h3>References</h3>",
        "<ul>",
        *(f"<li>{escape(work)}</li>" for work in content.citations),
        "</ul>",
    ]
    return page(content.study, sections)


def _with_code(text: str) -> str:
    """A text in HTML, what is between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _question(summary: pd.DataFrame, labels: Mapping[str, str]) -> str:
    base = summary[summary["family"] == BASE.family].iloc[0]
    levels = ", ".join(
        f"{label} {short(base[f'{value}_level'])} ± {short(base[f'{value}_se'])}"
        for value, label in labels.items()
    )
    return (
        f"On {base['n_prompts']} test prompts the base model's levels (mean rewards ± standard "
        f"error) are {levels}. Each palette below asks for other levels."
    )


def outcome(
    summary: pd.DataFrame, *, labels: Mapping[str, str], chosen: Sequence[str], opponent: str
) -> str:
    """How many policies are better in all chosen values at once, and at equal length; and which.

    The p-values are adjusted for the number of policies.

    Args:
        summary: table of `polyalign.evaluate.summary.summary`.
        labels: value → its name.
        chosen: the values in which a policy has to be better.
        opponent: the policy that win rates compare with.
    """
    names = [labels[value] for value in chosen]
    whom = "the base model" if opponent == BASE.name else opponent
    others = summary[summary["family"] + "/" + summary["variant"] != opponent]
    parts = []
    for claim, p in (
        ("better_in_all", "p_all_holm"),
        ("better_at_equal_length", "p_all_even_holm"),
    ):
        better = others[others[claim]]
        listed = ", ".join(
            f"{row['family']}/{row['variant']} (p = {row[p]:.2g})" for _, row in better.iterrows()
        )
        parts.append(f"{len(better)} of {len(others)} policies{': ' + listed if listed else ''}.")
    even = f" At equal length: {parts[1]}" if others["p_all_even"].notna().any() else ""
    return (
        f"Better than {whom} in all of {', '.join(names)} at once, at the 5 % level (p adjusted "
        f"for {len(others)} policies): {parts[0]}{even}"
    )


def _verdict(palette: Palette, labels: Mapping[str, str]) -> str:
    asked = ", ".join(
        f"{label} {palette.levels[value]} ({short(palette.asked[value])})"
        for value, label in labels.items()
        if value in palette.levels
    )
    of_lam = ", ".join(
        f"{label} {short(palette.lam[value])}"
        for value, label in labels.items()
        if value in palette.lam
    )
    said = palette.message.removeprefix(palette.verdict)
    if said == palette.message:
        said = f". {said}"
    adjusted = (
        f" It was adjusted: its solution goes {100 * palette.reached:.0f} % of the way from the "
        "base levels to the asked ones."
        if palette.adjusted
        else ""
    )
    solution = (
        f" λ = {of_lam}; KL to the base model {short(palette.kl)} nats, effective sample size "
        f"{short(palette.ess)}, scope {palette.scope}."
        if palette.solved
        else f" {palette.proof} There is no λ, so that its policies are left out.".replace(
            "  ", " "
        )
    )
    warnings = "".join(f"<li>{escape(one)}</li>" for one in palette.diagnosis.warnings)
    listed = f'\n<ul class="warnings">{warnings}</ul>' if warnings else ""
    return (
        f"<p><b>{escape(palette.name)}</b> asks for {escape(asked)}. Verdict: "
        f'<b class="{escape(palette.verdict)}">{escape(palette.verdict)}</b>'
        f"{escape(said.rstrip('.'))}.{adjusted}{escape(solution)}</p>{listed}"
    )


def _delivered(
    summary: pd.DataFrame, labels: Mapping[str, str], palettes: Mapping[str, Palette]
) -> str:
    rows = []
    for _, row in summary.iterrows():
        palette = palettes.get(row["palette"])
        adjusted = f" ({palette.adjusted})" if palette and palette.adjusted else ""
        for value, label in labels.items():
            level, se = row[f"{value}_level"], row[f"{value}_se"]
            asked = float(row[f"{value}_asked"])
            rows.append(
                [
                    f"{row['family']}/{row['variant']}",
                    label,
                    (short(asked) + (adjusted if math.isfinite(asked) else ""), asked),
                    number(row[f"{value}_predicted"]),
                    (f"{short(level)} ± {short(se)}", level),
                    percent(row[f"{value}_delivered"]),
                    number(row[f"{value}_lam"]),
                    number(row["kl"]),
                ]
            )
    head = ["Policy", "Value", "Asked", "Predicted", "Realised", "Gain delivered", "λ", "KL (nats)"]
    return table(head, rows, search=True)


def _cut_off(summary: pd.DataFrame) -> list[str]:
    """A warning of the policies whose responses the token limit ended, if there are many."""
    names = summary["family"] + "/" + summary["variant"]
    warning = cut_warning(dict(zip(names, summary["truncated"].astype(float), strict=True)))
    return [f'<ul class="warnings"><li>{escape(warning)}</li></ul>'] if warning else []


def _winrates(summary: pd.DataFrame, labels: Mapping[str, str]) -> str:
    rows = []
    for _, row in summary.iterrows():
        cells: list[Any] = [f"{row['family']}/{row['variant']}"]
        for value in labels:
            middle, low, high = (
                100 * row[f"{value}_winrate{end}"] for end in ("", "_low", "_high")
            )
            cells.append((f"{middle:.1f} ({low:.1f} to {high:.1f})", middle))
        cells.append((f"{row['p_all']:.2g}", float(row["p_all"])))
        rows.append(cells)
    return table(["Policy", *labels.values(), "p (all)"], rows, search=True)


def _diagnostics(summary: pd.DataFrame) -> str:
    rows = [
        [
            f"{row['family']}/{row['variant']}",
            number(row["kl"]),
            number(row["n_tokens"]),
            percent(row["empty"]),
            percent(row["truncated"]),
            number(row["job_seconds"]),
            number(row["cpu_seconds"]),
            number(row["gpu_seconds"]),
        ]
        for _, row in summary.iterrows()
    ]
    head = ["Policy", "KL (nats)", "Tokens", "Empty", "Cut off", "Seconds", "CPU s", "GPU s"]
    return table(head, rows, search=True)


def _worth(palettes: Mapping[str, Palette], labels: Mapping[str, str]) -> str:
    rows = []
    for palette in (one for one in palettes.values() if one.solved):
        found = palette.diagnosis
        for value, label in labels.items():
            if value not in palette.lam:
                continue
            ends = (found.low[value], found.high[value])
            rows.append(
                [
                    palette.name,
                    label,
                    number(palette.lam[value]),
                    (f"{short(ends[0])} to {short(ends[1])}", ends[0]),
                    number(palette.lam_train[value]),
                    number(palette.predicted[value]),
                    percent(found.reweighting[value]),
                    number(found.kkt),
                    number(palette.ess),
                    number(found.max_weight),
                    number(found.pareto_k),
                ]
            )
    head = ["Palette", "Value", "λ", "95 % interval", "λ for training", "Predicted level"]
    head += ["Re-weighting", "KKT", "ESS", "Largest weight", "Pareto k"]
    return table(head, rows, search=True)


def _side_by_side(samples: Sequence[Sample], labels: Mapping[str, str]) -> list[str]:
    if not samples:
        return []
    return [
        "<h2>Answers side by side</h2>",
        f"<p>The first {len(samples)} test prompts by identifier (a hash of the text), and "
        "the first answer of each policy; they were not picked by hand.</p>",
        *(_sample(sample, labels) for sample in samples),
    ]


def _sample(sample: Sample, labels: Mapping[str, str]) -> str:
    rows = [
        [
            answer.policy,
            "(no text)" if answer.response is None else answer.response or "(empty)",
            *(number(answer.rewards[value]) for value in labels if value in answer.rewards),
        ]
        for answer in sample.answers
    ]
    shown = [labels[value] for value in labels if value in sample.answers[0].rewards]
    answers = table(["Policy", "Answer", *shown], rows, search=False)
    return f'<h3>Prompt</h3>\n<div class="prompt">{escape(sample.prompt)}</div>\n{answers}'


def _facts(facts: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [model, name, number(fact) if isinstance(fact, int | float) else str(fact)]
        for model, known in facts.items()
        for name, fact in known.items()
    ]
    return table(["Model", "Fact", ""], rows, search=False)
