"""The explorer's numbers: those of `polyalign solve`, and ends of sliders by linear programmes."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polyalign.app import exploring, shown
from polyalign.app.exploring import Problem
from polyalign.app.tables import compared, read_tables, with_common_values
from polyalign.app.view import View, as_command, as_yaml, read_query, start
from polyalign.cli import main
from polyalign.errors import InputError
from polyalign.map.feasibility import furthest_of_value

NAMES = ["humor", "helpful", "harmless"]


def frame(prompts: int, candidates: int, seed: int = 0) -> pd.DataFrame:
    draws = np.random.default_rng(seed)
    mix = np.array([[1.0, 0.4, 0.0], [0.0, 2.0, -0.5], [0.1, 0.0, 0.6]])
    rewards = draws.normal(size=(prompts * candidates, 3)) @ mix
    table = pd.DataFrame(rewards, columns=NAMES)
    table.insert(0, "prompt", np.repeat([f"p{i}" for i in range(prompts)], candidates))
    return table


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("explorer") / "rewards.csv"
    frame(60, 8).to_csv(file, index=False)
    return file


@pytest.fixture(params=["prompt", "joint"])
def problem(path: Path, request: pytest.FixtureRequest) -> Problem:
    (table,) = read_tables([str(path)])
    return table.problem(request.param, NAMES)


def levels(*texts: str) -> dict[str, str]:
    return dict(zip(NAMES, texts, strict=True))


@pytest.mark.parametrize("scope", ["prompt", "joint"])
@pytest.mark.parametrize("palette", [("q60", "0.31", "mean"), ("mean+0.3sd", "+5%", "q61.5")])
def test_the_command_that_is_shown_prints_the_same_digits(
    path: Path, scope: str, palette: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (table,) = read_tables([str(path)])
    view = View(table.name, scope, levels(*palette))
    move = table.move(scope, view.levels)

    assert main([*shlex.split(as_command(table, view))[1:], "--json"]) == 0
    solved = json.loads(capsys.readouterr().out)
    assert move.solution is not None
    assert [shown.cell(x) for x in move.solution.lam] == [shown.cell(x) for x in solved["lam"]]
    realised = [shown.cell(x) for x in move.solution.realised]
    assert realised == [shown.cell(x) for x in solved["realised"]]
    assert shown.cell(move.solution.kl) == shown.cell(solved["kl"])
    assert (move.verdict, move.message) == (solved["verdict"], solved["message"])
    assert move.interval is not None
    assert (move.interval.lam_low <= move.solution.lam).all()


def test_an_infeasible_palette_says_what_solve_says(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (table,) = read_tables([str(path)])
    view = View(table.name, "prompt", levels("q99", "q99", "mean"))
    move = table.move("prompt", view.levels)
    assert move.verdict == "infeasible"
    assert set(move.conflict) <= set(NAMES)
    assert {"humor", "helpful"} & set(move.conflict)
    problem = table.problem("prompt", NAMES)
    assert main(as_command(table, view).split()[1:]) == 3
    assert capsys.readouterr().out.splitlines()[0] == exploring.why_infeasible(problem, move)


@pytest.mark.parametrize("palette", [("q55", "q60", "mean"), ("mean", "q60", "mean-0.5sd")])
def test_the_ends_of_sliders_are_the_highest_feasible_levels(
    problem: Problem, palette: tuple[str, ...]
) -> None:
    move = problem.move(levels(*palette))
    assert move.solution is not None
    # In the second one harmless may fall further than it does.
    assert (move.solution.lam[2] > 0) == (palette[2] == "mean")
    highest = problem.highest(move)
    for i in range(3):
        exact = furthest_of_value(problem.base, move.target, i)
        theta = (exact - problem.base.center[i]) / problem.base.scale[i]
        below = (exact - highest[i]) / problem.base.scale[i]
        assert -1e-7 <= below <= exploring.NEAR * (1 + theta)
        low, high, step = problem.ends(i, highest[i], "raw")
        assert low <= problem.base.center[i] < low + step
        assert highest[i] - step < high <= highest[i] + 1e-9 * step
        at_end = {**move.levels, NAMES[i]: problem.level(i, high, "raw")}
        assert problem.move(at_end).verdict != "infeasible"
        beyond = {**move.levels, NAMES[i]: str(exact + 1e-4 * problem.base.scale[i])}
        assert problem.move(beyond).verdict == "infeasible"


def test_an_infeasible_palette_leaves_each_value_its_own_highest_level(problem: Problem) -> None:
    move = problem.move(levels("q99", "q99", "q99"))
    assert move.solution is None
    best = [problem.base.best(unit)[i] for i, unit in enumerate(np.eye(3))]
    np.testing.assert_allclose(problem.highest(move), problem.base.raw(np.array(best)))


def test_a_position_of_a_slider_is_the_level_that_it_shows(problem: Problem) -> None:
    move = problem.move(levels("mean", "q70", "q62.5"))
    for i in range(3):
        low, high, step = problem.ends(i, problem.top[i], "raw")
        assert problem.level(i, low, "raw") == "mean"
        place = low + round((high - low) / step * 0.4) * step
        level = problem.level(i, place, "raw")
        assert float(level) == pytest.approx(place, abs=1e-9)
        again = problem.move({**move.levels, NAMES[i]: level})
        assert problem.position(i, again, "raw") == pytest.approx(place, abs=1e-9)
        assert problem.base.scale[i] / 500 < step <= problem.base.scale[i] / 50
    assert problem.position(0, move, "quantile") == problem.ends(0, problem.top[0], "quantile")[0]
    assert problem.position(1, move, "quantile") == pytest.approx(70, abs=0.3)
    assert problem.level(1, 70.0, "quantile") == "q70"
    assert problem.level(2, 62.5, "quantile") == "q62.5"


def test_shares_below_are_counted(problem: Problem) -> None:
    level = problem.rewards[5]
    counted = (problem.rewards <= level).mean(axis=0)
    np.testing.assert_allclose(problem.share_below(level), counted, atol=1e-12)


def test_drawn_back_is_supported_and_says_what_it_gives_up(problem: Problem) -> None:
    move = problem.move(levels("q99", "q99", "mean"))
    back = problem.drawn_back(move)
    after = problem.move(back.levels)
    assert after.verdict == "supported"
    np.testing.assert_allclose(back.given_up, move.target - after.target, atol=1e-12)
    assert (back.given_up[:2] > 0).all()
    assert 0 < back.share < 1
    # A little more of the same is not supported any more.
    more = problem.base.center + (back.share + 0.05) * (move.target - problem.base.center)
    assert problem.move(dict(zip(NAMES, map(str, more), strict=True))).verdict != "supported"
    kept = problem.drawn_back(after)
    assert kept.levels == after.levels
    assert not kept.given_up.any()


def test_maximised_holds_the_others(problem: Problem) -> None:
    move = problem.move(levels("q55", "mean", "mean"))
    found = problem.maximised(move, "helpful")
    assert (found["humor"], found["harmless"]) == ("q55", "mean")
    assert problem.move(found).verdict == "supported"
    more = {**found, "helpful": str(float(found["helpful"]) + 2 * problem.step[1])}
    assert problem.move(more).verdict != "supported"
    with pytest.raises(InputError, match="lower them first"):
        problem.maximised(problem.move(levels("q55", "q55", "max")), "helpful")


def test_the_front_at_the_palettes_kl_is_beyond_the_palette(problem: Problem) -> None:
    move = problem.move(levels("q60", "q60", "mean"))
    view = exploring.front_of(problem, move, "humor", "helpful")
    assert view is not None
    assert move.solution is not None
    assert view.kl == move.solution.kl
    # No point of the palette's KL is above the curve: on each normal of it, the curve is ahead.
    for weight in np.linspace(0, 1, 9):
        normal = np.array([weight, 1 - weight])
        assert (view.curve @ normal).max() >= view.realised @ normal - 1e-2
    np.testing.assert_allclose(view.realised, move.solution.realised[:2])
    assert exploring.front_of(problem, move, "humor", "humor") is None
    nothing = problem.move(levels("mean", "mean", "mean"))
    assert exploring.front_of(problem, nothing, "humor", "helpful") is None


def test_a_value_that_is_left_out_may_fall(path: Path) -> None:
    (table,) = read_tables([str(path)])
    move = table.move("joint", {"helpful": "q80"})
    (solved,) = move.solution.lam if move.solution is not None else (np.nan,)
    assert move.names == ["helpful"]
    assert solved > 0
    with pytest.raises(InputError, match="no value humour"):
        table.move("joint", {"humour": "q80"})


def test_tables_are_compared_on_their_common_values(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    frame(40, 1, seed=1)[["prompt", "harmless", "humor"]].to_csv(other, index=False)
    tables = with_common_values(read_tables([str(path), str(other)]))
    assert [one.names for one in tables] == [["humor", "harmless"]] * 2
    rows = compared(tables, {"humor": "q60", "harmless": "mean"})
    assert [(name, scope) for name, scope, _ in rows] == [
        (str(path), "prompt"),
        (str(path), "joint"),
        (str(other), "joint"),
    ]
    humor = pd.read_csv(other)["humor"]
    assert rows[2][2].target[0] == pytest.approx(np.quantile(humor, 0.6))
    with pytest.raises(InputError, match="named twice"):
        with_common_values(read_tables([str(path), str(path)]))


def test_the_address_keeps_the_view(path: Path) -> None:
    from urllib.parse import parse_qsl

    tables = read_tables([str(path)])
    view = View(str(path), "joint", {"humor": "q60", "harmless": "+5%"}, "quantile", True)
    assert read_query(tables, parse_qsl(view.query())) == view
    assert read_query(tables, []) == start(tables)
    for query, words in (
        ("scope=all", "scope 'all'"),
        ("table=other", "no table 'other'"),
        ("units=sd", "units 'sd'"),
        ("level=humor=high", "level 'high' is not understood"),
        ("level=<b>=q60", "no value <b>"),
    ):
        with pytest.raises(InputError, match=words):
            read_query(tables, parse_qsl(query))


def test_the_yaml_is_a_section_of_the_config(path: Path) -> None:
    import yaml

    text = as_yaml({"humor": "-0.50", "helpful": "q70", "harmless": "mean+0.2sd"})
    assert yaml.safe_load(text) == {
        "palettes": {"explored": {"humor": -0.5, "helpful": "q70", "harmless": "mean+0.2sd"}}
    }


def test_names_are_shown_as_text(path: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    file = tmp_path / "<b>.csv"
    frame(80, 2).rename(columns={"humor": name}).to_csv(file, index=False)
    tables = read_tables([str(file)])
    problem = tables[0].problem("joint", tables[0].names)
    move = problem.move({name: "q55", "helpful": "mean", "harmless": "mean"})
    far = problem.move({name: "max", "helpful": "max", "harmless": "max"})
    view = exploring.front_of(problem, move, name, "helpful")
    html = "".join(
        (
            shown.verdict_html(far),
            shown.numbers_html(problem, move, {}),
            shown.numbers_html(problem, far, {}),
            shown.compared_html(compared(tables, move.levels), {}),
            shown.drawn_back_html(problem.drawn_back(far), far, {}),
            shown.front_html(view, {}),
            shown.fault_html(name),
            shown.list_html([name]),
        )
    )
    assert "<img" not in html
    assert "<b>.csv" not in html
    assert "&lt;img" in html


def test_without_models_torch_is_not_imported(path: Path, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from polyalign.app.tables import read_tables\n"
        "from polyalign.app.page import make_page\n"
        "import polyalign.cli.app\n"
        f"make_page(read_tables([{str(path)!r}]), pathlib.Path({str(tmp_path)!r}), {{}})\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
