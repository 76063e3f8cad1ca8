"""What the figures of random palettes, duals and palettes' levels say, on tables made by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import figure_study
import pandas as pd
import pytest
from matplotlib.figure import Figure

from polyalign.errors import InputError
from polyalign.plots.data import FigureData
from polyalign.plots.figures import (
    adjustment,
    asked_realised,
    candidates,
    dual_objective,
    lambda_regions,
    palette_levels,
)

LABELS = {"a": "A", "b": "B"}


def data(**tables: pd.DataFrame) -> FigureData:
    return FigureData(labels=LABELS, units={}, policies={"base/base": None}, tables=tables)


def drawn() -> pd.DataFrame:
    """Two palettes of one value, four of two: one feasible, one infeasible and unmeasured."""
    nan = math.nan
    rows: list[tuple[Any, ...]] = [
        (1, 0, True, 1.0, 0.0, 1.0, 1.0, 0.2, nan),
        (1, 1, True, 9.0, 0.0, 1.0, 1.0, 0.4, nan),
        (2, 0, True, 0.5, 1.0, 1.0, 1.0, 1.0, nan),
        (2, 1, False, nan, nan, 0.9, 0.5, 3.0, 30.0),
        (2, 2, False, nan, nan, 0.7, 0.3, 5.0, 50.0),
        (2, 3, False, nan, nan, nan, nan, nan, nan),
    ]
    names = ["n_values", "draw", "feasible", "a_weight", "b_weight"]
    return pd.DataFrame(rows, columns=[*names, "edge", "reached", "solve_ms", "adjust_ms"])


def test_adjustment_counts_all_and_averages_what_was_adjusted() -> None:
    study = data(by_number=drawn())
    assert adjustment.title(study).endswith("100 % with 1 value, 25 % with 2 values")
    assert adjustment.finding(study) == (
        "Feasible palettes by number of values: 100 % (34 to 1e+02) with 1; 25 % (4.6 to 70) with "
        "2, the others 80 % of the way, 40 % with support."
    )


def test_regions_count_the_points_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    random = pd.DataFrame(
        {"kind": "reference", "n_values": 2, "a_weight": [0.1, 2.0], "b_weight": [1.0, 0.5]}
    )
    study = data(by_number=drawn(), random=random)
    assert lambda_regions.title(study) == (
        "λ of feasible random palettes: 2 of 2 with 1 value, 1 of 4 with 2 values"
    )
    assert lambda_regions.finding(study).endswith("standard deviations: 5 with 1, 1.5 with 2.")
    figures = []
    save = Figure.savefig

    def kept(figure: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    lambda_regions.draw(study, [tmp_path / "a.png"])
    heads = [axes.get_title() for axes in figures[0].axes]
    assert heads == ["1 value (1 outside)", "2 values"]


def test_the_dual_rises_to_the_best_of_each_palette() -> None:
    table = pd.DataFrame({"palette": ["one", "one", "two"], "best": [0.5, 0.5, 2.0], "dual": 0.1})
    study = data(duals=table)
    assert dual_objective.title(study) == "The dual rises to 0.5 nats in one and to 2 nats in two"
    assert dual_objective.finding(study) == "Maximum of the dual in nats: one 0.5, two 2."
    many = pd.DataFrame({"palette": [f"p{i}" for i in range(11)], "best": 1.0, "dual": 0.1})
    assert dual_objective.finding(data(duals=many)).endswith(" 9 of 11 palettes shown.")


def test_candidates_are_judged_by_the_values_that_are_raised() -> None:
    rows = [
        ("p", 2, "a", 1.0, 0.0, 0.5), ("p", 16, "a", 1.0, 0.0, 0.9),
        ("p", 2, "b", 0.0, 0.0, -3.0), ("p", 16, "b", math.nan, 0.0, -3.0),
    ]  # fmt: skip
    names = ["palette", "candidates", "value", "target", "base", "level"]
    table = pd.DataFrame(rows, columns=names).assign(spread=2.0, kl=0.1)
    palette = replace(figure_study.palette("hhh-60"), levels={"a": "q60", "b": "mean"})
    study = replace(data(candidates=table), palettes={"p": palette})
    assert candidates.gaps(study)["gap"].tolist() == pytest.approx([-0.25, -0.05])
    assert candidates.title(study).endswith("give 50 % with 2 candidates, 90 % with 16")
    assert candidates.finding(study) == "Mean share of the asked rise: 50 % with 2, 90 % with 16."


@pytest.mark.parametrize("base", ["", math.nan])
def test_palette_levels_compare_with_the_base_model(base: Any) -> None:
    """The name of the base model is empty, which a CSV file gives back as NaN."""
    rows = [
        (base, "a", math.nan, 0.4), (base, "b", math.nan, 0.5),
        ("p", "a", 1.0, 0.8), ("p", "b", math.nan, 0.3),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["palette", "value", "asked", "quantile"])
    study = data(palette_levels=table)
    assert palette_levels.finding(study).strip() == (
        "Levels as quantiles of the base model: largest rise A in p, from 40 to 80 %; largest fall "
        "B in p, from 50 to 30 %."
    )
    quantiles, named = palette_levels.tables(study)
    assert list(quantiles.index) == ["", "p"]
    assert named.loc["p"].tolist() == [True, False]


def test_asked_gains_are_drawn_against_realised_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A point of every raised level where its numbers are, and the slope of each family."""
    study = figure_study.figure_data()
    panels: list[Any] = []
    save = Figure.savefig

    def saved(self: Figure, *arguments: Any, **options: Any) -> None:
        panels.extend(self.axes)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", saved)
    asked_realised.draw(study, [tmp_path / "figure.pdf"])
    raised = ["humor", "helpful", "harmless"]
    assert [axes.get_title() for axes in panels] == [study.labels[value] for value in raised]
    base, found = study.levels["base/base"], {}
    for axes, value in zip(panels, raised, strict=True):
        for line in axes.lines:
            policy = line.get_gid()
            if policy not in study.policies:
                continue
            (x,), (y,) = line.get_data()
            asked = study.palettes[study.policies[policy]].asked[value]
            places = [asked, *(study.levels[policy][end][value] for end in ("mean", "low", "high"))]
            places = [(one - base["mean"][value]) / base["sd"][value] for one in places]
            assert (x, y) == pytest.approx(places[:2])
            bars = [one.get_ydata() for one in axes.lines if list(one.get_xdata()) == [x, x]]
            assert any(bar == pytest.approx(places[2:]) for bar in bars)
            found[policy, value] = (x, y)
        assert any(list(one.get_xdata()) == list(one.get_ydata()) for one in axes.lines)
    assert len(found) == 11
    own = [place for (policy, _), place in found.items() if policy.startswith("map-d/")]
    slope = sum(x * y for x, y in own) / sum(x * x for x, _ in own)
    told = f"{100 * slope:.0f} % of the"
    assert asked_realised.title(study) == f"map-d delivers {told} gains that 4 palettes ask"
    assert f"map-d: {told} asked gains over 4 policies (Humor" in asked_realised.finding(study)
    assert "rloo: " in asked_realised.finding(study)


def test_nothing_asked_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no policy realises a palette that raises a value"):
        asked_realised.draw(
            replace(figure_study.figure_data(), palettes={}), [tmp_path / "figure.png"]
        )
