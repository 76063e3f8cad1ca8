"""The published numbers, as configs/published.yaml gives them and docs/published.md says."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, copy_checkout, snakemake
from scipy.optimize import linprog
from test_scores import only_light

from polyalign.map.dual import solve

REFERENCE = REPOSITORY.parent / "shared/reference/llama2_chat-Anthropic-harmless.json"
PAGE = REPOSITORY / "docs/published.md"
VALUES = ["humor", "helpful", "harmless", "diversity", "coherence", "perplexity"]
COLUMNS = {"helpful": "gpt2-helpful", "harmless": "gpt2-harmless"}
"""Names in the authors' tables, where they are others than in the config."""

NUMBERS = ("by_number", "duals", "palette_levels", "rounds")
SECONDS = 60

published = pytest.mark.skipif(
    not REFERENCE.is_file(), reason="needs the published table beside the checkout"
)


def cells(name: str) -> dict[str, list[list[float]]]:
    """A table of the page: first cell of a row → the numbers of each other cell, NaN for a dash."""
    text = PAGE.read_text().partition(f"<!-- {name} -->\n")[2].partition("\n\n")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines()[2:]]
    numbers = r"–|-?\d+(?:\.\d+)?"
    return {
        head.strip(): [
            [np.nan if one == "–" else float(one) for one in re.findall(numbers, cell)]
            for cell in others
        ]
        for head, *others in rows
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All numbers of the study, without torch; its figures are those of other studies."""
    folder = only_light(copy_checkout(tmp_path_factory.mktemp("published") / "checkout"))
    made = folder / "results/published"
    numbers = [f"results/published/explore/{name}.csv" for name in NUMBERS]
    levels = "results/published/policies/base/base/levels.csv"
    options = ("--cores", "2", "--configfile", "configs/published.yaml")
    table = ("--config", f"rewards={REFERENCE}")
    done = snakemake(folder, *options, *table, "--", "palettes", levels, *numbers)
    assert done.returncode == 0, done.stdout
    return made


def by_value(table: pd.DataFrame, column: str) -> list[float]:
    return list(table.set_index("value")[column].reindex(VALUES))


def solved(results: Path, palette: str) -> dict[str, list[float]]:
    """λ and asked levels of a palette in the order of `VALUES`; NaN where it names no value."""
    record = json.loads((results / f"palettes/{palette}.json").read_text())
    return {
        key: [dict(zip(record["values"], record[key], strict=True)).get(v, np.nan) for v in VALUES]
        for key in ("lam", "asked")
    }


def level_of(results: Path, palette: str, column: str = "level") -> list[float]:
    table = pd.read_csv(results / "explore/palette_levels.csv").fillna({"palette": "base model"})
    return by_value(table[table["palette"] == palette], column)


def base_level(results: Path, statistic: str) -> list[float]:
    return by_value(pd.read_csv(results / "policies/base/base/levels.csv"), statistic)


def round_of(results: Path, number: str) -> list[float]:
    table = pd.read_csv(results / "explore/rounds.csv")
    rows = table[(table["palette"] == "hhh-70") & (table["round"] == int(number))]
    return [by_value(rows, "level")[VALUES.index("helpful")]]


def highest(results: Path, palette: str) -> list[float]:
    table = pd.read_csv(results / "explore/duals.csv")
    return [table.loc[table["palette"] == palette, "best"].iloc[0]]


def drawn(results: Path, number: str) -> list[float]:
    table = pd.read_csv(results / "explore/by_number.csv")
    table = table[table["n_values"] == int(number)]
    moved = table[~table["feasible"] & table["reached"].notna()]
    return [table["feasible"].mean(), moved["edge"].mean(), moved["reached"].mean()]


HERE: Mapping[str, tuple[Callable[[Path, str], list[float]], slice, float]] = {
    "base": (base_level, slice(1, 2), 0.0005),
    "lambda": (lambda results, name: solved(results, name)["lam"], slice(1, 2), 0.0005),
    "levels": (level_of, slice(1, 2), 0.0005),
    "delivered": (lambda results, name: solved(results, name)["asked"][:3], slice(1, 2), 0.0005),
    "rounds": (round_of, slice(1, 2), 0.0005),
    "adjustment": (drawn, slice(1, 4), 0.0005),
    "dual": (highest, slice(0, 1), 0.0005),
    "quantiles": (
        lambda results, name: [100 * one for one in level_of(results, name, "quantile")],
        slice(0, 1),
        0.05,
    ),
}
"""Table of the page → what its cells of ours are, where they are, and half of their last digit."""


@published
@pytest.mark.parametrize("name", HERE)
def test_the_page_has_what_the_study_gives(results: Path, name: str) -> None:
    compute, where, half = HERE[name]
    table = cells(name)
    assert len(table) >= 3
    for head, row in table.items():
        written = np.concatenate(row[where])
        found = np.array(compute(results, head))
        np.testing.assert_allclose(written, found, atol=1.001 * half, rtol=0, err_msg=head)


@published
def test_the_printed_numbers_are_regenerated(results: Path) -> None:
    """Item by item: base levels to the digit, λ within 1 %, levels and rounds within 0.01."""
    for head, (printed, _) in cells("base").items():
        slack = 0.0011 if head == "se" else 0.0006  # ours are clustered by prompt
        assert base_level(results, head) == pytest.approx(printed, abs=slack), head
    printed = {head: row[0] for head, row in cells("lambda").items()}
    for palette in ("hhh-60", "hhh-70", "hhh-80"):
        lam = solved(results, palette)["lam"]
        assert lam[:3] == pytest.approx(printed[palette][:3], rel=0.01)
        assert lam[3:5] == [0, 0]
        assert max(printed[palette][3:5]) <= 0.02
    for palette, one in printed.items():
        single = np.isfinite(one)
        if single.sum() <= 2:
            lam = np.array(solved(results, palette)["lam"])
            assert np.isfinite(lam).tolist() == single.tolist()
            assert lam[single] == pytest.approx(np.array(one)[single], rel=0.011)
    for head, (written, _) in cells("levels").items():
        assert level_of(results, head) == pytest.approx(written, abs=0.0015), head
    for head, (known, _) in cells("rounds").items():
        assert round_of(results, head) == pytest.approx(known, abs=0.01)
    for palette, (delivered, asked, shares) in cells("delivered").items():
        base = np.array(base_level(results, "mean")[:3])
        rise = (np.array(delivered) - base) / (np.array(asked) - base)
        np.testing.assert_allclose(100 * rise, shares, atol=0.6, err_msg=palette)


def published_rewards() -> np.ndarray:
    """The table, (2312, 6), in the order of `VALUES`."""
    records = json.loads(REFERENCE.read_text())
    return np.array([[record[COLUMNS.get(value, value)] for value in VALUES] for record in records])


def most_room(rewards: np.ndarray, target: np.ndarray) -> float:
    """Largest t with levels >= target + t sd for some policy on the rows, by scipy's HiGHS.

    One unknown for each row, none of our own code.
    """
    rows, asked = len(rewards), np.asarray(target)
    found = linprog(
        np.append(np.zeros(rows), -1.0),
        A_ub=np.column_stack([-rewards.T, rewards.std(axis=0)]),
        b_ub=-asked,
        A_eq=np.append(np.ones(rows), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * rows + [(None, None)],
        method="highs",
    )
    assert found.status == 0
    return float(-found.fun)


def adam(rewards: np.ndarray, target: np.ndarray, steps: int = 200) -> np.ndarray:
    """λ of the published procedure: steepest ascent of the dual in log λ by Adam, from λ = 1."""
    table, asked = rewards.T.astype(np.float32), target.astype(np.float32)
    tau, first, second = np.zeros((3, len(target)), dtype=np.float32)
    for step in range(1, steps + 1):
        lam = np.exp(tau)
        weight = np.exp(lam @ table - (lam @ table).max())
        slope = (table @ weight / weight.sum() - asked) * lam
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        tau = tau - 0.1 * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return np.exp(tau)


@published
@pytest.mark.parametrize("palette", ["hhh-50", "hhh-60", "hhh-70", "hhh-80", *(
    f"{value}-80" for value in VALUES[:3]
)])  # fmt: skip
def test_the_printed_lambda_are_where_adam_stopped(results: Path, palette: str) -> None:
    """Which explains every digit that differs."""
    printed = np.array(cells("lambda")[palette][0])
    named = [i for i, one in enumerate(printed) if np.isfinite(one)]
    rewards = published_rewards()[:, named]
    target = np.array(solved(results, palette)["asked"])[named].round(3)
    assert adam(rewards, target) == pytest.approx(printed[named], abs=6e-4)


@published
def test_the_study_takes_less_than_a_minute(results: Path) -> None:
    """In CPU time, on which a busy machine has no part; the fixture refuses torch to every job."""
    records = [json.loads(path.read_text()) for path in results.glob("logs/**/*.json")]
    assert len(records) > 25
    assert sum(record["cpu_seconds"] for record in records) < SECONDS


@published
def test_a_palette_that_is_not_feasible_has_its_proof(results: Path) -> None:
    record = json.loads((results / "palettes/hhh-90.json").read_text())
    assert record["verdict"] == "infeasible"
    assert record["slack"] == pytest.approx(-0.065, abs=5e-4)
    hhh = json.loads((results / "palettes/hhh-80.json").read_text())
    assert (hhh["verdict"], hhh["slack"] > 0) == ("unsupported", True)
    assert hhh["ess"] == pytest.approx(20, abs=0.5)
    assert hhh["kkt"] <= 1e-8


@published
@pytest.mark.parametrize("palette", ["hhh-80", "hhh-90"])
def test_the_room_of_a_palette_is_that_of_another_program(results: Path, palette: str) -> None:
    record = json.loads((results / f"palettes/{palette}.json").read_text())
    target = np.array(solved(results, palette)["asked"])
    assert record["slack"] == pytest.approx(most_room(published_rewards(), target), abs=1e-7)


@published
def test_a_finite_lambda_is_printed_for_palettes_that_no_policy_reaches() -> None:
    """From the authors' log; a linear programme, ours and another, proves it."""
    lines = (
        PAGE.read_text().partition("<!-- unreachable -->\n")[2].partition("\n\n")[0].splitlines()
    )
    assert len(lines) == 2 + 2
    for line in lines[2:]:
        number, asked, lam, slack = (
            [float(one) for one in cell.split()] for cell in line.strip("|").split("|")
        )
        assert len(asked) == len(lam) == number[0]
        assert np.isfinite(lam).all()
        rewards = published_rewards()[:, : len(asked)]
        room = most_room(rewards, np.array(asked))
        assert room < 0
        assert room == pytest.approx(slack[0], abs=5e-5)
        ours = solve(rewards, np.array(asked), scope="joint")
        assert ours.verdict == "infeasible"
        assert ours.slack == pytest.approx(room, abs=1e-7)


def stand_in(folder: Path, rows: int = 400) -> tuple[Path, np.ndarray]:
    """A table in the form of the authors' files, whose raised values fight, and its rewards."""
    draws = np.random.default_rng(5)
    rewards = draws.normal(size=(rows, len(VALUES)))
    rewards[:, 1] -= 0.7 * rewards[:, 0]
    rewards[:, 2] -= 0.4 * rewards[:, 1]
    rewards *= [1.9, 1.1, 0.9, 0.1, 0.2, 0.4]
    records = [
        {
            "prompt": f"question {row // 2}",
            "generated": f"question {row // 2} answer {row}",
            **{COLUMNS.get(value, value): one for value, one in zip(VALUES, numbers, strict=True)},
        }
        for row, numbers in enumerate(rewards.tolist())
    ]
    table = folder / "opt1.3b-Anthropic-harmless.json"
    table.write_text(json.dumps(records))
    return table, rewards


def test_the_command_for_the_other_table_computes_room_and_lambda(
    checkout: Path, tmp_path: Path
) -> None:
    """The command of the page, on a table of our own: λ has the levels asked, by weighting."""
    table, rewards = stand_in(tmp_path)
    (line,) = re.findall(r"^ +polyalign (run .*hhh-80\.json)$", PAGE.read_text(), re.MULTILINE)
    given = f"PATH/{table.name}"
    assert given in line
    words = line.replace(given, str(table)).split()
    call = "import sys; from polyalign.cli import main; sys.exit(main())"
    ran = subprocess.run(
        [sys.executable, "-c", call, *words],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    record = json.loads((checkout / words[-1]).read_text())
    order = [record["values"].index(value) for value in VALUES]
    raised = [*np.quantile(rewards[:, :3], 0.8, axis=0), *rewards[:, 3:].mean(axis=0)]
    assert np.array(record["asked"])[order] == pytest.approx(np.array(raised))
    assert record["slack"] == pytest.approx(most_room(rewards, np.array(raised)), abs=1e-7)
    assert record["verdict"] in ("supported", "unsupported")
    lam = np.array(record["lam"])[order]
    weight = np.exp(rewards @ lam - (rewards @ lam).max())
    levels = weight @ rewards / weight.sum()
    assert (lam[:3] > 0).all()
    assert levels[:3] == pytest.approx(raised[:3], abs=1e-6)
    assert (levels[3:] >= np.array(raised[3:]) - 1e-6).all()
