"""A finished study as a few small files: `python tools/study_page.py results/real docs/real`.

Writes results.md (numbers, figures and cards) and samples.md (answers of the base model and of
each palette, side by side). Read samples.md before you commit it. More folders after these two are
the same study with other seeds: they are compared in seeds.md.
"""

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gallery import thumbnail

from polyalign.data.tables import read_table
from polyalign.map.base import Base
from polyalign.report.cards import ceiling_text
from polyalign.report.text import markdown
from polyalign.runtime.files import write_text

FIGURES = ("delivery", "palette_path", "reward_vs_kl", "replicates")
SHOWN = 10
"""Prompts whose answers are shown for each palette."""

ERRORS = 2.0
"""Standard errors within which a level counts as realised."""

REALISED = (
    "Palette of map-d",
    "Verdict",
    "Furthest below",
    "By standard errors",
    f"Within {ERRORS:g}",
)


def results(study: Path, command: str) -> str:
    """The page of numbers.

    Args:
        study: folder of a finished study.
        command: how it was run.
    """
    tables = study / "tables"
    summary, levels = read_table(tables / "summary.csv"), read_table(tables / "levels.csv")
    config = json.loads((study / "config.json").read_text(encoding="utf-8"))
    hours = summary["job_seconds"].sum() / 3600
    parts = [
        f"# Results of the study {study.name}",
        f"`{command}`, {date.today().isoformat()}, {platform.machine()}, {os.cpu_count()} cores. "
        f"Policies' own jobs took {60 * hours:.0f} minutes; the pool and the reward models are not "
        "counted. Written by `python tools/study_page.py`.",
        (tables / "outcome.txt").read_text(encoding="utf-8").strip(),
        "## Rewards and people",
        cards(sorted((study / "models/reward").glob("*/card.json"))),
        "## What was asked and delivered",
        (tables / "delivery.md").read_text(encoding="utf-8").strip(),
        table(REALISED, realised(study)),
        "## The independent judge",
        *(judged(levels, name) for name in config["evaluation"].get("evaluate_only", [])),
        "## Figures",
        *(figure(study / "plots", name) for name in drawn(study)),
    ]
    return "\n\n".join(parts) + "\n"


def cards(files: Iterable[Path]) -> str:
    """The cards of the rewards that the study trained, a row each."""
    head = ["Reward", "Trained on", "Held out", "ρ with people", "Ceiling", "One person", "AUC"]
    head += ["Accuracy", "Calibration error", "ρ with length"]
    rows = []
    for file in files:
        card = json.loads(file.read_text(encoding="utf-8"))
        ceiling = card["ceiling"] or {}
        (found,) = card["agreement"].values()
        rows.append(
            [
                card["name"],
                f"{card['trained_on']['number']} texts",
                f"{card['texts']} texts",
                "{:.2f} [{:.2f}, {:.2f}]".format(*found["rho"]),
                ceiling_text(card),
                _two(ceiling.get("one_rater")),
                "{:.2f} [{:.2f}, {:.2f}]".format(*found["auc"]),
                _two(card.get("accuracy")),
                _two(card["calibration"]["error"]),
                _two(found["rho_length"]),
            ]
        )
    return table(head, rows)


def gaps(pool: pd.DataFrame, palette: Mapping[str, Any]) -> dict[str, float]:
    """Value → how far map-d is below what a palette asks on test prompts, in standard errors.

    The level of a prompt is the exact expectation over its candidates under λ. The standard error
    is that of the mean over test prompts and that of λ's fit: the mean over the fit prompts.

    Args:
        pool: scored candidates, with `prompt_id` and `split`.
        palette: the record of a solved palette.
    """
    values = palette["values"]
    means, errors = {}, {}
    for split, rows in pool.groupby("split"):
        base = Base(rows[values].to_numpy(float), pd.factorize(rows["prompt_id"])[0], "prompt")
        levels, _ = base.prompt_levels(np.array(palette["lam_decode"]) * base.scale)
        levels = base.raw(levels)
        means[split] = levels.mean(axis=0)
        errors[split] = levels.std(axis=0, ddof=1) / len(levels) ** 0.5
    below = np.array(palette["target"]) - means["test"]
    error = np.hypot(errors["test"], errors["fit"])
    return dict(zip(values, (below / error).tolist(), strict=True))


def realised(study: Path) -> list[list[str]]:
    """Whether map-d realises each palette within so many standard errors of what was asked."""
    pool = read_table(study / "policies/base/pool/rewards.parquet")
    rows = []
    for file in sorted((study / "palettes").glob("*.json")):
        palette = json.loads(file.read_text(encoding="utf-8"))
        found = gaps(pool, palette)
        worst = max(found, key=lambda value: found[value])
        within = "yes" if found[worst] <= ERRORS else "no"
        rows.append([file.stem, palette["verdict"], worst, f"{found[worst]:.1f}", within])
    return rows


def seeds(studies: Sequence[Path]) -> str:
    """The same study with several seeds: one column per seed."""
    columns = []
    for study in studies:
        config = json.loads((study / "config.json").read_text(encoding="utf-8"))
        columns.append({"": f"seed {config['seed']}", **_one_seed(study, config)})
    head, *rows = [[name, *(column.get(name, "–") for column in columns)] for name in columns[0]]
    parts = [
        f"# The study {studies[0].name} with several seeds",
        "Written by `python tools/study_page.py`. What map-d realises are exact expectations over "
        "the candidates of the test questions. How far a level is below what was asked is in "
        "standard errors, those of the fit and of the test.",
        table(head, rows),
    ]
    return "\n\n".join(parts) + "\n"


def _one_seed(study: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """What came out of a study, by name."""
    found = {
        f"{name}: verdict, furthest below": f"{verdict}, {worst} by {by}"
        for name, verdict, worst, by, _ in realised(study)
    }
    summary = read_table(study / "tables/summary.csv")
    for _, row in summary[summary["palette"].isin(config["palettes"])].iterrows():
        asked = config["palettes"][str(row["palette"])]
        for value in (value for value, level in asked.items() if level != "mean"):
            found[f"{row['family']}/{row['variant']}: {value}, gain of asked (sd)"] = (
                f"{row[f'{value}_realised_sd']:+.2f} of {row[f'{value}_asked_sd']:+.2f}"
            )
    levels = read_table(study / "tables/levels.csv")
    for value in config["evaluation"].get("evaluate_only", [])[:1]:
        for name, gain, _ in gains(levels, value):
            found[f"{name}: gain in {value}"] = gain
    for file in sorted((study / "models/reward").glob("*/card.json")):
        card = json.loads(file.read_text(encoding="utf-8"))
        (agreement,) = card["agreement"].values()
        found[f"{card['name']}: ρ with people"] = _two(agreement["rho"][0])
    logs = [json.loads(file.read_text("utf-8")) for file in (study / "logs").rglob("*.json")]
    jobs = [log for log in logs if log.get("cpu_seconds")]
    times = [pd.to_datetime([log[end] for log in jobs]) for end in ("started", "ended")]
    found["CPU seconds of all jobs"] = f"{sum(log['cpu_seconds'] for log in jobs):.0f}"
    found["first job to last"] = f"{(times[1].max() - times[0].min()).total_seconds() / 60:.0f} min"
    found["largest job"] = f"{max(log['rss_mb'] for log in jobs) / 1000:.1f} GB"
    return found


def gains(levels: pd.DataFrame, value: str) -> list[list[str]]:
    """What each policy did to a value: its name, its gain, and whether that is beyond chance."""
    base = levels[levels["family"] == "base"].iloc[0]
    rows = []
    for _, row in levels[levels["family"] != "base"].iterrows():
        gain = row[f"{value}_mean"] - base[f"{value}_mean"]
        error = (row[f"{value}_se"] ** 2 + base[f"{value}_se"] ** 2) ** 0.5
        said = (
            "rose" if gain > ERRORS * error else "fell" if gain < -ERRORS * error else "undecided"
        )
        rows.append([f"{row['family']}/{row['variant']}", f"{gain:+.2f} ± {error:.2f}", said])
    return rows


def judged(levels: pd.DataFrame, value: str) -> str:
    """What each policy did to a value that λ never weighs."""
    base = levels[levels["family"] == "base"].iloc[0]
    level = f"{base[f'{value}_mean']:.2f} ± {base[f'{value}_se']:.2f}"
    return f"The base model has {value} {level}.\n\n" + table(
        ["Policy", f"Gain in {value}", f"Beyond {ERRORS:g} standard errors"], gains(levels, value)
    )


def drawn(study: Path) -> list[str]:
    """The figures that the study has, of those that are shown."""
    return [name for name in FIGURES if (study / f"plots/{name}.png").exists()]


def figure(plots: Path, name: str) -> str:
    """A figure with what it shows."""
    finding = (plots / f"{name}.txt").read_text(encoding="utf-8").strip()
    said, doubts, listed = finding.partition(" Do not trust: ")
    many = listed.count(";") + 1
    rest = f" One answer may decide the level in {many} cases: see the report." if doubts else ""
    return f"![{name}]({name}.png)\n\n{said}{rest}"


def samples(study: Path, opponents: Sequence[str]) -> str:
    """Answers of the base model and of policies to the first prompts by their id.

    Args:
        study: folder of a finished study.
        opponents: the policies; each answers with its first sample.
    """
    base = _first(study, "base/base")
    parts = [
        f"# Answers of the study {study.name}",
        f"The first {SHOWN} test prompts by the hash of their text, which nobody chose, and the "
        "first answer of each policy. Answers end at the token limit.",
    ]
    for policy in opponents:
        aligned = _first(study, policy)
        shown = base.index.intersection(aligned.index)[:SHOWN]
        rows = [
            [base["prompt"][key], base["response"][key], aligned["response"][key]] for key in shown
        ]
        parts += [f"## {policy}", table(["Prompt", "Base model", policy], rows)]
    return "\n\n".join(parts) + "\n"


def _first(study: Path, policy: str) -> pd.DataFrame:
    frame = read_table(study / f"policies/{policy}/rewards.parquet")
    frame = frame[frame["split"] == "test"].sort_values(["prompt_id", "candidate"])
    return frame.drop_duplicates("prompt_id").set_index("prompt_id")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; line ends become spaces."""
    cells = [[markdown(" ".join(str(cell).split())) for cell in row] for row in [head, *rows]]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(head), *lines[1:]])


def _two(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}"


def main() -> None:
    study, folder, *others = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    summary = read_table(study / "tables/summary.csv")
    names = (summary["family"] + "/" + summary["variant"])[summary["family"] == "map-d"]
    write_text(folder / "results.md", results(study, f"make {study.name}"))
    write_text(folder / "samples.md", samples(study, list(names)))
    if others:
        write_text(folder / "seeds.md", seeds([study, *others]))
    for name in drawn(study):
        thumbnail(study / f"plots/{name}.png", folder / f"{name}.png")


if __name__ == "__main__":
    main()
