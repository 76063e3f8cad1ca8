"""What the figures of random palettes, duals and palettes' levels say, on tables made by hand."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from polyalign.plots.data import FigureData
from polyalign.plots.figures import adjustment, dual_objective, lambda_regions, palette_levels

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
