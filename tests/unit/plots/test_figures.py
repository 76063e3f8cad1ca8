import math
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from importlib import import_module
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import baselines
import figure_study
import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from PIL import Image

from polyalign.data.tables import write_csv
from polyalign.errors import InputError
from polyalign.families import NAMES, family
from polyalign.plots import theme
from polyalign.plots.data import FigureData, load, read_graph, read_metrics
from polyalign.plots.figures import (
    before_after,
    delivery,
    feasible_lambda,
    heat_map,
    mixtures,
    palette_path,
    pareto,
    random_levels,
    reward_histograms,
    reward_vs_kl,
    reward_vs_length,
    sequential,
    training_curves,
    workflow_dag,
)
from polyalign.plots.places import label_points

FOLDER = Path(theme.__file__).parent / "figures"
FIGURES = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__")


TABLES = {"levels", "winrate", "rewards", "pool", "palettes", "training", "jobs", "families"}
TABLES |= {"random", "fronts", "rounds", "paths", "calibration", "seeds"}
TABLES |= {"by_number", "candidates", "duals", "palette_levels", "replicates"}


@cache
def study() -> FigureData:
    return figure_study.figure_data()


def only(*policies: str) -> FigureData:
    """The study with these policies alone."""
    kept = {name: study().policies[name] for name in ("base/base", *policies)}
    return replace(study(), policies=kept)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a test draws, in order."""
    figures: list[Figure] = []
    sheet = theme.sheet

    @contextmanager
    def kept(*arguments: Any, **options: Any) -> Iterator[Any]:
        with sheet(*arguments, **options) as (figure, axes):
            figures.append(figure)
            yield figure, axes

    monkeypatch.setattr(theme, "sheet", kept)
    return figures


def points(axes: Any) -> dict[str, tuple[float, float]]:
    """Number in a point → where the point is."""
    return {text.get_text(): text.xy for text in axes.texts}


def stars(axes: Any) -> list[tuple[float, float]]:
    return [tuple(*line.get_xydata()) for line in axes.lines if line.get_marker() == "*"]


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_whole_legible_and_as_it_was(
    name: str, drawn: list[Figure], tmp_path: Path
) -> None:
    figure = import_module(f"polyalign.plots.figures.{name}")
    assert set(figure.FIGURE.needs) <= TABLES
    assert set(figure.FIGURE.shows) <= {field.name for field in fields(FigureData)}
    pdf, png = (tmp_path / file for file in ("a.pdf", "a.png"))
    figure.draw(study(), [pdf, png])
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in pdf.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.pdf", "a.png"]
    _legible(drawn[0])
    _apart(drawn[0])
    assert imread(png).shape[1] == round(300 * drawn[0].get_figwidth())
    picture = baselines.small(png)
    with Image.open(baselines.FOLDER / f"{name}.png") as stored:
        assert picture.size == stored.size
        assert baselines.distance(picture, stored) < baselines.TOLERANCE


def _legible(figure: Figure) -> None:
    assert figure.get_figwidth() in (theme.COLUMN, theme.PAGE)
    sizes = [text.get_fontsize() for text in figure.findobj(match=_written)]
    assert min(sizes) >= 6
    assert {*sizes} & {7.0, 8.0}  # those of the theme, not matplotlib's own
    assert 10.0 not in sizes


def _apart(figure: Figure) -> None:
    """No text is cut off at the edge of the figure, none covers another one or a point."""
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = [one for one in figure.axes if one.axison]
    ticks = [
        tick for one in axes for axis in (one.xaxis, one.yaxis) for tick in axis._update_ticks()
    ]
    shown = {id(label) for tick in ticks for label in (tick.label1, tick.label2)}
    labels = {id(tick.label1) for tick in figure.findobj(Tick)}
    labels |= {id(tick.label2) for tick in figure.findobj(Tick)}
    texts = [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()
    ]
    texts = [text for text in texts if id(text) in shown or id(text) not in labels]
    boxes = [(text, Text.get_window_extent(text, renderer).padded(-1)) for text in texts]
    for text, box in boxes:
        assert figure.bbox.padded(1).containsx(box.x0), text.get_text()
        assert figure.bbox.padded(1).containsx(box.x1), text.get_text()
    for (text, box), (other, place) in combinations(boxes, 2):
        assert not box.overlaps(place), (text.get_text(), other.get_text())
    for line in (line for one in figure.axes for line in one.lines if line.get_marker() != "None"):
        if line.get_transform() != line.axes.transData or line.get_markevery() is not None:
            continue
        for spot in line.axes.transData.transform(line.get_xydata()):
            for text, box in boxes:
                inside = text.axes is line.axes and box.contains(*spot)
                assert not inside or math.dist(spot, 0.5 * (box.min + box.max)) < 2, text.get_text()


@pytest.mark.parametrize("name", ["delivery", "heat_map", "pareto"])
def test_the_same_figure_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    runs = [[tmp_path / f"{run}.{kind}" for kind in ("pdf", "png")] for run in "ab"]
    for output in runs:
        import_module(f"polyalign.plots.figures.{name}").draw(study(), output)
    for first, second in zip(*runs, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_both_files_of_a_figure_have_one_layout(tmp_path: Path) -> None:
    """Panels of a fixed aspect move in a second layout: the PNG must not have another one."""
    pareto.draw(study(), [tmp_path / "both.pdf", tmp_path / "both.png"])
    pareto.draw(study(), [tmp_path / "alone.png"])
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "alone.png").read_bytes()


def test_a_lost_point_is_seen(tmp_path: Path) -> None:
    fewer = {name: palette for name, palette in study().policies.items() if "rloo" not in name}
    heat_map.draw(replace(study(), policies=fewer), [tmp_path / "a.png"])
    with Image.open(baselines.FOLDER / "heat_map.png") as stored:
        picture = baselines.small(tmp_path / "a.png").resize(stored.size)
        assert baselines.distance(picture, stored) > baselines.TOLERANCE


def test_a_dry_run_imports_neither_matplotlib_nor_pandas() -> None:
    code = "import sys\n" + "".join(f"import polyalign.plots.figures.{name}\n" for name in FIGURES)
    code += "print([name for name in ('matplotlib', 'pandas', 'numpy') if name in sys.modules])"
    environment = {"PYTHONPATH": str(FOLDER.parents[2])}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_fronts_and_policies_of_a_pair_are_where_their_numbers_are(
    drawn: list[Figure], tmp_path: Path
) -> None:
    exact = study().levels["map-d/hhh-60"].assign(expected_se=0.02)
    exact["expected"] = exact["mean"] + 0.05
    data = replace(study(), levels={**study().levels, "map-d/hhh-60": exact})
    pareto.draw(data, [tmp_path / "figure.png"])
    pairs = pareto.shown_pairs(data)
    assert [(one.get_xlabel(), one.get_ylabel()) for one in drawn[0].axes] == [
        tuple(f"{figure_study.LABELS[value]} (sd)" for value in pair) for pair in pairs
    ]
    base = data.levels["base/base"]
    for axes, pair in zip(drawn[0].axes, pairs, strict=True):

        def sd(levels: Any, value: str) -> Any:
            return (levels - base["mean"][value]) / base["sd"][value]

        drawn_at = {tuple(*one.get_xydata()) for one in axes.lines if len(one.get_xdata()) == 1}
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        for name, table in data.levels.items():
            column = "expected" if name == "map-d/hhh-60" else "mean"
            x, y = (sd(table[column][value], value) for value in pair)
            assert any(point == pytest.approx((x, y), abs=1e-9) for point in drawn_at), name
            assert left < x < right
            assert low < y < high
        assert len(drawn_at) == len(data.levels)
        table = data.tables["fronts"]
        table = table[(table["across"] == pair[0]) & (table["up"] == pair[1])]
        for budget, front in table.groupby("budget"):
            (line,) = (one for one in axes.lines if one.get_gid() == f"front {budget:g}")
            for levels, value in zip(line.get_data(), pair, strict=True):
                assert levels == pytest.approx(sd(front[f"{value}_level"], value))
    assert any(text.startswith("map-d: 1 hhh-60 0.10,") for text in key_of(drawn[0]))


@pytest.mark.parametrize(("policies", "values"), [(4, 2), (40, 12)])
@pytest.mark.parametrize("name", ["heat_map", "pareto", "reward_vs_kl", "reward_vs_length"])
def test_a_figure_of_policies_fits_with_few_and_many(
    name: str, policies: int, values: int, drawn: list[Figure], tmp_path: Path
) -> None:
    data = many(policies, values)
    points = np.linspace(0, 1, 5)
    front = pd.DataFrame(
        {"across": "v0", "up": "v1", "budget": 0.2, "v0_level": points, "v1_level": points[::-1]}
    )
    data = replace(data, tables={"fronts": front})
    import_module(f"polyalign.plots.figures.{name}").draw(data, [tmp_path / "figure.png"])
    _legible(drawn[0])
    _apart(drawn[0])
    assert drawn[0].get_figheight() < 10
    # The key is below the panels, no line covers another, and none leaves the figure.
    renderer = FigureCanvasAgg(drawn[0]).get_renderer()
    lines = [line.get_window_extent(renderer) for line in drawn[0].legends]
    lowest = min(axes.get_tightbbox(renderer).y0 for axes in drawn[0].axes)
    for above, line in pairwise([None, *lines]):
        assert line.y1 <= (lowest if above is None else above.y0 + 1)
        assert 0 <= line.x0 <= line.x1 <= drawn[0].bbox.x1
    assert not lines or (lines[-1].y0 >= 0 and lines[0].y1 < 0.35 * drawn[0].bbox.y1)


def key_of(figure: Figure) -> list[str]:
    return [
        text.get_text().replace("\xa0", " ") for line in figure.legends for text in line.get_texts()
    ]


def _written_in(text: Text) -> Any:
    """The box of a text without its arrow, at its place."""
    text.get_window_extent()  # an annotation finds its place here
    return Text.get_window_extent(text)


def test_labels_beside_points_cover_neither_each_other_nor_a_point(
    drawn: list[Figure], tmp_path: Path
) -> None:
    spots = [(0.5 + 0.02 * i, 0.5) for i in range(6)]
    with theme.sheet([tmp_path / "a.png"], 1, 1, width=3, height=3) as (figure, panels):
        axes = panels[0, 0]
        axes.set(xlim=(0, 1), ylim=(0, 1))
        figure.get_layout_engine().execute(figure)
        label_points(axes, spots, [str(i) for i in range(6)], ["black"] * 6)
        assert [text.xy for text in axes.texts] == spots
        boxes = [_written_in(text) for text in axes.texts]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert not any(box.contains(*axes.transData.transform(spot)) for spot in spots)


def test_labels_keep_clear_of_intervals_and_those_of_lines_stand_on_them(
    drawn: list[Figure], tmp_path: Path
) -> None:
    with theme.sheet([tmp_path / "a.png"], 1, 1, width=3, height=3) as (figure, panels):
        axes = panels[0, 0]
        axes.set(xlim=(0, 1), ylim=(0, 1))
        figure.get_layout_engine().execute(figure)
        across, up = np.array([0.1, 0.9]), np.array([0.3, 0.5])
        (line,) = axes.plot(across, up)
        bars = [axes.plot([0.3, 0.7], [0.7] * 2)[0], axes.plot([0.5] * 2, [0.6, 0.8])[0]]
        axes.plot(0.85, 0.4875, "o")  # where the line's label would stand first
        label_points(axes, [(0.5, 0.7)], ["12"], ["black"], [(line, "0.3 nats")])
        of_line, of_point = axes.texts
        box = _written_in(of_point)
        for bar in bars:
            ends = axes.transData.transform(bar.get_xydata())
            steps = np.linspace(ends[0], ends[1], 200)
            assert not any(box.contains(*step) for step in steps)
        x, y = of_line.get_position()
        assert y == pytest.approx(np.interp(x, across, up))
        assert not Text.get_window_extent(of_line).contains(
            *axes.transData.transform((0.85, 0.4875))
        )


def test_cells_hold_the_change_and_are_bold_where_it_is_clear(
    drawn: list[Figure], tmp_path: Path
) -> None:
    heat_map.draw(study(), [tmp_path / "figure.png"])
    (axes,) = drawn[0].axes
    names = [name for name in study().policies if name != "base/base"]
    assert [text.get_text() for text in axes.get_yticklabels()] == names
    assert [text.get_text() for text in axes.get_xticklabels()] == [*figure_study.LABELS.values()]
    cells = {text.get_position(): text for text in axes.texts}
    shade = axes.images[0].get_array()
    base = study().levels["base/base"]
    clear = {True: 0, False: 0}
    for row, name in enumerate(names):
        for column, value in enumerate(figure_study.LABELS):
            table = study().levels[name]
            gain = (table["mean"][value] - base["mean"][value]) / base["sd"][value]
            half = 1.959964 * math.hypot(table["se"][value], base["se"][value]) / base["sd"][value]
            assert shade[row, column] == pytest.approx(gain)
            text = cells[column, row]
            assert float(text.get_text().replace("−", "-")) == pytest.approx(gain, abs=0.00501)
            assert (text.get_fontweight() == "bold") == (abs(gain) > half)
            if abs(gain) > half:
                clear[gain > 0] += 1
    assert heat_map.title(study()) == (
        f"Of 48 levels {clear[True]} are clearly above the base model's, {clear[False]} clearly "
        f"below, {48 - sum(clear.values())} undecided"
    )
    assert clear[True] > clear[False] > 0


def test_a_study_of_the_base_model_alone_has_an_empty_map(tmp_path: Path) -> None:
    heat_map.draw(only(), [tmp_path / "map.png"])
    assert heat_map.title(only()) == "No policy beside the base model"


def drawn_points(axes: Any) -> dict[str, Any]:
    """Policy → its point in a panel of `delivery`."""
    return {line.get_gid(): line for line in axes.lines if line.get_gid() in study().policies}


def test_what_was_delivered_is_drawn_where_the_tables_say(
    drawn: list[Figure], tmp_path: Path
) -> None:
    exact = study().levels["map-d/hhh-60"].assign(expected_se=0.02)
    exact["expected"] = exact["mean"] + 0.05
    data = replace(study(), levels={**study().levels, "map-d/hhh-60": exact})
    delivery.draw(data, [tmp_path / "figure.pdf"])
    panels = drawn[0].axes
    shown = [name for name, palette in data.policies.items() if palette]
    base = data.levels["base/base"]
    assert [axes.get_title() for axes in panels] == [*figure_study.LABELS.values(), "KL (nats)"]
    for axes, value in zip(panels, figure_study.LABELS, strict=False):

        def place(level: float, value: str = value) -> float:
            spread = study().rewards["base/base"][value].to_numpy().std()
            return float((level - base["mean"][value]) / spread)

        found = drawn_points(axes)
        assert set(found) == set(shown)
        assert len({line.get_ydata()[0] for line in found.values()}) == len(shown)
        left, right = axes.get_xlim()
        for name, line in found.items():
            (x,), (y,) = line.get_data()
            row = data.levels[name].loc[value]
            level, low, high = row["mean"], row["low"], row["high"]
            if name == "map-d/hhh-60":
                level = row["expected"]
                low, high = (level + sign * 1.959964 * 0.02 for sign in (-1, 1))
            assert x == pytest.approx(place(level))
            assert left < x < right
            bars = [one.get_xdata() for one in axes.lines if list(one.get_ydata()) == [y, y]]
            assert any(bar == pytest.approx([place(low), place(high)], abs=1e-6) for bar in bars)
            asked = data.palettes[data.policies[name]].asked[value]
            fill = "full" if level >= asked or high < asked else "left"
            assert line.get_fillstyle() == fill
            assert (line.get_markerfacecolor() == "white") == (high < asked)
            (mark,) = (one for one in axes.lines if one.get_gid() == f"asked {data.policies[name]}")
            assert mark.get_xdata() == pytest.approx([place(asked)] * 2)
            assert min(mark.get_ydata()) < y < max(mark.get_ydata())
    texts = [text.get_text() for text in panels[0].texts]
    asked = data.palettes["hhh-60"].asked["humor"] - base["mean"]["humor"]
    assert f"q60: {asked / base['sd']['humor']:+.2f} sd" in texts
    assert len(texts) == 3  # harmless-70 does not raise humor
    bars = {bar.get_gid(): bar.get_width() for bar in panels[-1].patches}
    assert bars == pytest.approx({name: data.levels[name]["kl"].iloc[0] for name in shown})


def test_what_a_ceiling_allows_is_below_it(drawn: list[Figure], tmp_path: Path) -> None:
    asked = study().palettes["hhh-60"]
    capped = replace(
        asked,
        levels={**asked.levels, "humor": "<= q60"},
        ceilings={"humor": asked.asked["humor"]},
    )
    data = replace(study(), palettes={**study().palettes, "hhh-60": capped})
    delivery.draw(data, [tmp_path / "figure.pdf"])
    panel = drawn[0].axes[0]
    base = data.levels["base/base"].loc["humor"]
    place = (asked.asked["humor"] - base["mean"]) / base["sd"]
    shades = [shade.get_paths()[0].vertices[:, 0] for shade in panel.collections]
    left, right = panel.get_xlim()
    ends = [(shade.min(), shade.max()) for shade in shades]
    assert ends[0] == pytest.approx((left, place))
    assert all(end == pytest.approx(right) for _, end in ends[1:])
    assert f"≤ {place:+.2f} sd" in [text.get_text() for text in panel.texts]
    assert "Ceilings: " in delivery.finding(data)


def test_two_kinds_of_kl_look_different(drawn: list[Figure], tmp_path: Path) -> None:
    chosen = study().levels["map-d/hhh-60"].assign(kl_kind="choice")
    data = replace(study(), levels={**study().levels, "map-d/hhh-60": chosen})
    delivery.draw(data, [tmp_path / "figure.pdf"])
    nats = drawn[0].axes[-1]
    bounds = [bar.get_gid() for bar in nats.patches if bar.get_facecolor() == (1, 1, 1, 1)]
    assert bounds == ["map-d/hhh-60"]
    assert [text.get_text() for text in nats.texts].count("≤ 0.10") == 1
    assert sum("≤" in text.get_text() for text in nats.texts) == 1


def test_a_bound_of_the_kl_is_not_taken_for_a_measurement(
    drawn: list[Figure], tmp_path: Path
) -> None:
    chosen = study().levels["map-d/hhh-60"].assign(kl_kind="choice")
    data = replace(study(), levels={**study().levels, "map-d/hhh-60": chosen})
    reward_vs_kl.draw(data, [tmp_path / "figure.pdf"])
    white = [line for line in drawn[0].axes[0].lines if line.get_markerfacecolor() == "white"]
    base = data.levels["base/base"].loc["humor"]
    level = (chosen["mean"]["humor"] - base["mean"]) / base["sd"]
    (point,) = (tuple(*line.get_xydata()) for line in white)
    assert point == pytest.approx((math.sqrt(chosen["kl"].iloc[0]), level))
    assert key_of(drawn[0])[-1] == "KL at most this: chooses among candidates"
    found = reward_vs_kl.finding(data)
    assert "as measured on samples: rloo/hhh-60, 0.8 nats" in found
    assert "as an upper bound: map-d/hhh-60, 0.1 nats" in found


def many(policies: int, values: int) -> FigureData:
    """A study of four palettes with that many policies, and that many values."""
    data = study()
    names = [f"v{i}" for i in range(values)]

    def widened(table: pd.DataFrame, shift: float) -> pd.DataFrame:
        wide = table.iloc[[i % len(table) for i in range(values)]].set_axis(names)
        for column in ("mean", "low", "high"):
            wide[column] += shift * wide["sd"]
        return wide

    base = widened(data.levels["base/base"], 0.0)
    asked = {name: base["mean"][name] + 0.2 * base["sd"][name] for name in names}
    palettes = {
        f"p{i}": replace(
            data.palettes["hhh-60"],
            name=f"p{i}",
            levels={name: "q60" if name < "v3" else "mean" for name in names},
            asked=asked,
        )
        for i in range(4)
    }
    made = {f"rloo/p{i % 4}-{i}": f"p{i % 4}" for i in range(policies)}
    levels = {
        name: widened(data.levels["rloo/hhh-60"], 0.01 * number) for number, name in enumerate(made)
    }
    return replace(
        data,
        labels={name: name.upper() for name in names},
        policies={"base/base": None, **made},
        palettes=palettes,
        winrates={
            name: pd.DataFrame({"low": 0.4 + 0.01 * i, "even_low": 0.45}, index=names)
            for i, name in enumerate(made)
        },
        levels={"base/base": base, **levels},
    )


@pytest.mark.parametrize(("policies", "values"), [(4, 2), (40, 12)])
def test_delivery_is_readable_with_few_and_many(
    policies: int, values: int, drawn: list[Figure], tmp_path: Path
) -> None:
    delivery.draw(many(policies, values), [tmp_path / "figure.png"])
    figure = drawn[0]
    _legible(figure)
    _apart(figure)
    assert figure.get_figheight() < 10  # inches: it fits on a page
    panels = figure.axes
    assert len(panels) == values + 1
    boxes = [axes.get_position() for axes in panels]
    assert min(box.width * theme.PAGE for box in boxes) > 0.3
    for one, other in pairwise(boxes):
        assert one.x1 <= other.x0
    rows = [line.get_ydata()[0] for line in panels[0].lines if str(line.get_gid())[:4] == "rloo"]
    assert len(set(rows)) == policies
    apart = np.diff(sorted(rows)).min() / np.ptp(panels[0].get_ylim())
    assert apart * boxes[0].height * figure.get_figheight() > 0.13  # inches: the letters of a row


def test_delivery_shows_a_dozen_values_the_raised_ones_first(
    drawn: list[Figure], tmp_path: Path
) -> None:
    data = many(4, 14)
    levels = dict.fromkeys(data.labels, "mean") | {"v13": "q60"}
    palettes = {key: replace(one, levels=levels) for key, one in data.palettes.items()}
    data = replace(data, palettes=palettes)
    delivery.draw(data, [tmp_path / "figure.png"])
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == [*(f"V{i}" for i in range(11)), "V13", "KL (nats)"]
    assert delivery.finding(data).endswith("12 of 14 values shown.")


def test_only_an_interval_is_cut_at_the_edge_of_a_panel(
    drawn: list[Figure], tmp_path: Path
) -> None:
    wide = study().levels["rloo/hhh-60"].copy()
    wide.loc["humor", "low"] -= 50
    data = replace(study(), levels={**study().levels, "rloo/hhh-60": wide})
    delivery.draw(data, [tmp_path / "figure.png"])
    axes = drawn[0].axes[0]
    left, right = axes.get_xlim()
    assert right - left < 3
    assert all(left < line.get_xdata()[0] < right for line in drawn_points(axes).values())
    (arrow,) = (line for line in axes.lines if line.get_marker() == "<")
    assert arrow.get_xdata()[0] == left
    assert arrow.get_ydata() == drawn_points(axes)["rloo/hhh-60"].get_ydata()


def test_a_value_that_does_not_vary_has_an_empty_panel(drawn: list[Figure], tmp_path: Path) -> None:
    levels = {name: table.copy() for name, table in study().levels.items()}
    levels["base/base"].loc["diversity", "sd"] = 0.0
    delivery.draw(replace(study(), levels=levels), [tmp_path / "figure.png"])
    empty = {axes.get_title(): not drawn_points(axes) for axes in drawn[0].axes}
    del empty["KL (nats)"]
    assert empty.pop("Diversity")
    assert empty
    assert not any(empty.values())


def test_delivery_needs_a_policy_with_a_palette(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no policy realises a palette"):
        delivery.draw(only("dpo/beta-0.1_harmless-0.1"), [tmp_path / "figure.pdf"])


def test_series_stay_apart_beyond_the_colours() -> None:
    styles = theme.series_styles(map(str, range(64)))
    assert len(set(styles.values())) == 64
    assert len({style.colour for style in list(styles.values())[:8]}) == 8


@pytest.mark.parametrize(
    "name",
    [
        "before_after",
        "delivery",
        "heat_map",
        "palette_path",
        "pareto",
        "reward_vs_kl",
        "reward_vs_length",
        "sequential",
    ],
)
def test_an_adjusted_palette_says_so_wherever_it_is_named(
    name: str, drawn: list[Figure], tmp_path: Path
) -> None:
    moved = {"hhh-60": replace(study().palettes["hhh-60"], reached=0.638)}
    data = replace(study(), palettes={**study().palettes, **moved})
    figure = import_module(f"polyalign.plots.figures.{name}")
    figure.draw(data, [tmp_path / "figure.pdf"])
    written = " ".join(text.get_text() for text in drawn[0].findobj(match=_written))
    assert re.search(r"hhh-60\s+\(adjusted\s+to\s+64\s+%\)", written)
    assert written.count("adjusted") == len(re.findall(r"hhh-60\s+\(adjusted", written))
    assert "palettes" in figure.FIGURE.needs
    assert data.caption("Found.").startswith("Found. No policy reaches")
    assert data.caption("Found.").endswith(": hhh-60 (adjusted to 64 %).")
    assert study().caption("Found.") == "Found."


def test_palettes_without_a_solution_are_not_drawn(drawn: list[Figure], tmp_path: Path) -> None:
    known = study().palettes
    none = replace(
        known["hhh-60"], name="none", solved=False, lam=dict.fromkeys(known["hhh-60"].lam, math.nan)
    )
    data = replace(study(), palettes={"none": none, **known})
    assert [one.name for one in before_after.solved(data)] == list(known)
    before_after.draw(data, [tmp_path / "figure.pdf"])
    assert before_after.finding(data) == before_after.finding(study())


def test_a_caption_speaks_of_the_adjusted_palettes_that_its_figure_shows() -> None:
    data = study()
    other = {"other": replace(data.palettes["hhh-60"], name="other", reached=0.48)}
    data = replace(data, palettes={**data.palettes, **other})
    assert data.caption("Found.") == "Found."
    assert data.caption("hhh-60 from -1.5 to -2.") == "hhh-60 from −1.5 to −2."
    lacking = replace(data, left_out="Left out: a/b (palette c is infeasible).")
    assert lacking.caption("Found.") == "Found. Left out: a/b (palette c is infeasible)."
    of_palettes = replace(data, levels={}, winrates={})
    assert of_palettes.caption("Found.").endswith(": other (adjusted to 48 %).")
    used = replace(data, policies={**data.policies, "rloo/other": "other"})
    assert used.caption("Found.").endswith(": other (adjusted to 48 %).")


def _written(artist: Any) -> bool:
    return hasattr(artist, "get_fontsize") and bool(artist.get_text())


def test_no_two_families_declare_one_colour() -> None:
    declared = [place for name in NAMES if (place := family(name).colour) is not None]
    assert len(set(declared)) == len(declared)
    assert set(declared) <= set(range(len(theme.COLOURS)))


def test_styles_keep_families_apart_and_the_known_ones_as_they_are() -> None:
    alone = theme.family_styles(["rloo"])["rloo"]
    styles = theme.family_styles(["new", "map-d", "rloo", "other"])
    assert styles["rloo"] == alone
    assert len({style.colour for style in styles.values()}) == 4
    assert len({style.marker for style in styles.values()}) == 4


def test_tables_are_read_by_policy_and_value(tmp_path: Path) -> None:
    data = study()
    files = []
    for name, table in data.levels.items():
        files.append(tmp_path / "policies" / name / "levels.csv")
        write_csv(table.reset_index(), files[-1])
    read = load(
        labels=data.labels.items(),
        units=data.units,
        policies=data.policies.items(),
        inputs={"levels": files[::-1]},
    )
    assert list(read.levels) == list(data.policies)
    assert read.levels["dpo/beta-0.1_harmless-0.9"]["mean"].equals(
        data.levels["dpo/beta-0.1_harmless-0.9"]["mean"]
    )
    assert (read.winrates, read.palettes, read.tables, read.pool) == ({}, {}, {}, None)


def test_histograms_hold_all_answers_of_both_policies(drawn: list[Figure], tmp_path: Path) -> None:
    reward_histograms.draw(study(), [tmp_path / "figure.pdf"])
    for axes, value in zip(drawn[0].axes, figure_study.LABELS, strict=True):
        frames = [study().rewards[name][value] for name in ("base/base", "rloo/hhh-60")]
        lines = [float(line.get_xdata()[0]) for line in axes.lines]
        assert lines == pytest.approx([frame.mean() for frame in frames])
        edges = np.histogram_bin_edges(np.concatenate(frames), reward_histograms.BINS)
        for patch, frame in zip(axes.patches, frames, strict=True):
            shares = 100 * np.histogram(frame, edges)[0] / len(frame)
            assert patch.get_xy()[:, 1].max() == pytest.approx(shares.max())
    key = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert key == ["base model", "rloo/hhh-60"]


def test_before_and_after_mark_the_levels(drawn: list[Figure], tmp_path: Path) -> None:
    before_after.draw(study(), [tmp_path / "figure.pdf"])
    panels = drawn[0].axes
    palettes = list(study().palettes.values())
    assert len(panels) == 4 * 3
    rows = study().pool.query("split == 'test'")
    for axes, palette in zip(panels[::3], palettes, strict=True):
        assert axes.get_ylabel() == palette.name
        lines = {line.get_label(): line.get_xdata() for line in axes.lines}
        assert lines["base level"][0] == pytest.approx(rows["humor"].mean())
        assert lines["asked level"][0] == palette.asked["humor"]
        expected = []
        for _, prompt in rows.groupby("prompt_id"):
            score = sum(prompt[value] * lam for value, lam in palette.lam.items())
            weight = np.exp(score - score.max())
            expected.append(np.average(prompt["humor"], weights=weight))
        assert lines["level of the solution"][0] == pytest.approx(np.mean(expected))


def test_mixtures_are_ordered_by_their_share(drawn: list[Figure], tmp_path: Path) -> None:
    mixtures.draw(study(), [tmp_path / "figure.pdf"])
    assert mixtures.traded(study()) == ("helpful", "harmless")
    assert mixtures.curves(study(), "helpful") == {
        "dpo beta-0.1": [
            (0.1, "dpo/beta-0.1_harmless-0.9"),
            (0.9, "dpo/beta-0.1_harmless-0.1"),
        ],
        "soup": [(0.5, "soup/harmless-0.5")],
    }
    (axes,) = drawn[0].axes
    line = next(line for line in axes.lines if line.get_label() == "dpo beta-0.1")
    base = study().levels["base/base"]
    for drawn_at, value in zip(line.get_data(), ("helpful", "harmless"), strict=True):
        levels = [study().levels[f"dpo/beta-0.1_harmless-{w}"]["mean"][value] for w in (0.9, 0.1)]
        assert drawn_at == pytest.approx(
            (np.array(levels) - base["mean"][value]) / base["sd"][value]
        )
    assert points(axes)["10 %"] == pytest.approx(line.get_xydata()[0])
    assert points(axes)["90 %"] == pytest.approx(line.get_xydata()[1])
    moved = [f"{one[1] - one[0]:+.2f}".replace("-", "−") for one in line.get_data()]
    assert mixtures.title(study()) == (
        f"10 → 90 % of Helpful's pairs: dpo beta-0.1 moves Helpful by {moved[0]} sd and Harmless "
        f"by {moved[1]} sd"
    )
    with pytest.raises(InputError, match="fewer than two values"):
        mixtures.draw(replace(study(), mixtures={}), [tmp_path / "b.png"])


def test_mixtures_of_data_sets_that_are_no_values_are_refused_with_soups_of_them_too() -> None:
    mixed = {
        "dpo/beta-0.1_a": {"mine": 1.0},
        "dpo/beta-0.1_b": {"mine": 0.5, "hh": 0.5},
        "soup/half": {"dpo/beta-0.1_a": 0.5, "dpo/beta-0.1_b": 0.5},
    }
    with pytest.raises(InputError, match="fewer than two values of the study"):
        mixtures.traded(replace(study(), mixtures=mixed))


def test_series_of_mixtures_have_one_strength_and_one_set_of_parts() -> None:
    mixed = {
        "dpo/beta-0.1_more_fun_a": {"helpful": 0.3, "harmless": 0.7},
        "dpo/beta-0.1_more_fun_b": {"helpful": 1.0},
        "dpo/beta-0.5_c": {"helpful": 0.2, "harmless": 0.8},
        "dpo/beta-0.5_d": {"helpful": 0.2, "humor": 0.8},
        "soup/half_way": {"rloo/hhh-60": 0.25, "map-d/hhh-60": 0.75},
        "soup/most": {"map-d/hhh-60": 0.9, "rloo/hhh-60": 0.1},
        "soup/of_mixtures": {"dpo/beta-0.1_more_fun_a": 0.5, "dpo/beta-0.1_more_fun_b": 0.5},
    }
    data = replace(study(), mixtures=mixed, labels={"helpful": "A", "harmless": "B", "humor": "C"})
    assert mixtures.curves(data, "helpful") == {
        "dpo beta-0.1": [(0.3, "dpo/beta-0.1_more_fun_a"), (1.0, "dpo/beta-0.1_more_fun_b")],
        "dpo beta-0.5": [(0.2, "dpo/beta-0.5_c")],
        "dpo beta-0.5 of helpful + humor": [(0.2, "dpo/beta-0.5_d")],
        "soup of map-d/hhh-60 + rloo/hhh-60 (weight of map-d/hhh-60)": [
            (0.75, "soup/half_way"),
            (0.9, "soup/most"),
        ],
        "soup of dpo/beta-0.1_more_fun_a + dpo/beta-0.1_more_fun_b": [(0.65, "soup/of_mixtures")],
    }
    alone = replace(study(), mixtures={"soup/most": mixed["soup/most"]})
    assert mixtures.traded(alone) == ("humor", "helpful")  # the first two that palettes raise
    assert mixtures.curves(alone, "humor") == {
        "soup (weight of map-d/hhh-60)": [(0.9, "soup/most")]
    }


def test_points_are_at_the_root_of_their_kl_with_what_is_evaluated_only(
    drawn: list[Figure], tmp_path: Path
) -> None:
    reward_vs_kl.draw(study(), [tmp_path / "figure.pdf"])
    assert reward_vs_kl.shown_values(study()) == ["humor", "helpful", "harmless", "coherence"]
    assert drawn[0].axes[3].get_title() == "Coherence\n(evaluated only)"
    base = study().levels["base/base"]
    for axes, value in zip(drawn[0].axes, reward_vs_kl.shown_values(study()), strict=True):
        at = [tuple(*line.get_xydata()) for line in axes.lines if len(line.get_xdata()) == 1]
        for number, name in enumerate([one for one in study().policies if one != "base/base"], 1):
            table = study().levels[name]
            level = (table["mean"][value] - base["mean"][value]) / base["sd"][value]
            place = math.sqrt(table["kl"].iloc[0]), level
            assert points(axes)[str(number)] == pytest.approx(place)
            assert any(one == pytest.approx(place) for one in at)
    assert reward_vs_kl.title(study()).startswith("Humor is highest for map-d/humor-70: +0.")


def test_lengths_are_on_the_axis(drawn: list[Figure], tmp_path: Path) -> None:
    reward_vs_length.draw(study(), [tmp_path / "figure.pdf"])
    base, names = study().levels["base/base"], [*study().policies][1:]
    for axes, value in zip(drawn[0].axes, figure_study.LABELS, strict=True):
        dots = {tuple(one.get_xydata()[0]): one for one in axes.lines if len(one.get_xdata()) == 1}
        for i, name in enumerate(names, 1):
            level = study().levels[name]["mean"][value]
            place = points(axes)[str(i)]
            assert place == pytest.approx(
                (11 + i, (level - base["mean"][value]) / base["sd"][value])
            )
            dot = next(one for at, one in dots.items() if at == pytest.approx(place))
            clear = study().winrates[name]["even_low"][value] > 0.5
            assert (dot.get_markerfacecolor() != "white") == clear
    wins = [
        (
            study().winrates[name]["low"][value] > 0.5,
            study().winrates[name]["even_low"][value] > 0.5,
        )
        for name in names
        for value in figure_study.LABELS
    ]
    assert reward_vs_length.title(study()) == (
        f"Of {len(wins)} win rates {sum(low for low, _ in wins)} are clearly above one half; at "
        f"equal length {sum(low and even for low, even in wins)} of these still are"
    )
    unknown = {name: table.assign(n_tokens=math.nan) for name, table in study().levels.items()}
    with pytest.raises(InputError, match="no column n_tokens"):
        reward_vs_length.draw(replace(study(), levels=unknown), [tmp_path / "b.png"])


def test_training_has_a_panel_a_metric(drawn: list[Figure], tmp_path: Path) -> None:
    training_curves.draw(study(), [tmp_path / "figure.pdf"])
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == [
        "base: loss",
        "dpo: loss",
        "rloo: KL (nats)",
        "rloo: Humor",
        "rloo: Helpful",
        "rloo: Harmless",
        "rloo: λ / first λ",
        "rloo: asked − level",
    ]
    logged = drawn[0].axes[0].lines[0]
    assert logged.get_ydata() == pytest.approx(study().training["base/base"]["loss"])
    lam, gap = drawn[0].axes[-2:]
    assert [len(axes.lines) for axes in (lam, gap)] == [4, 6], "harmless starts without λ"
    table = study().training["rloo/hhh-60"]
    assert lam.lines[2].get_ydata() == pytest.approx(table["lam/helpful"] / 0.3)
    assert gap.lines[0].get_ydata() == pytest.approx(table["gap/humor"])
    assert gap.get_legend().get_texts()[0].get_text() == "Humor"
    trained = study().palettes["hhh-60"].trained
    for axes, value in zip(drawn[0].axes[3:6], ("humor", "helpful", "harmless"), strict=True):
        (dashed,) = (one for one in axes.lines if one.get_gid() == "perfect hhh-60")
        assert set(dashed.get_ydata()) == {trained.level[value]}
        assert axes.lines[0].get_ydata() == pytest.approx(table[f"rewards/{value}/mean"])
    (dashed,) = (one for one in drawn[0].axes[2].lines if one.get_gid() == "perfect hhh-60")
    assert set(dashed.get_ydata()) == {trained.kl}
    assert training_curves.title(study()) == (
        "3 models trained: 1 of 3 raised levels end below those of perfect training (dashed)"
    )
    # One model of the family has a λ that moves: its lines need no name of a model.
    mixed = study().training | {"rloo/other": table[["step", "kl"]]}
    assert list(training_curves._lines(replace(study(), training=mixed), "rloo", "gap/"))[:2] == [
        "Humor", "Helpful",
    ]  # fmt: skip
    # Many models have lower panels, and more of them in a row: all fits on a page.
    families = {f"{name}/x": study().training["rloo/hhh-60"] for name in ("rloo", "ppo", "dpo")}
    several = {f"{name}/{i}": table for i in range(2) for name, table in families.items()}
    several = {name.replace("/x", ""): table for name, table in several.items()}
    training_curves.draw(replace(study(), training=several), [tmp_path / "many.png"])
    assert len(drawn[1].axes) == 18
    assert drawn[1].get_figheight() < 10
    with pytest.raises(InputError, match="trains no model with metrics"):
        training_curves.draw(replace(study(), training={}), [tmp_path / "b.png"])


def test_the_workflow_is_shown_in_its_stages(drawn: list[Figure], tmp_path: Path) -> None:
    jobs, rules = study().jobs, study().rules
    members = workflow_dag.rules_of(rules)
    assert sorted(rule for several in members.values() for rule in several) == sorted(
        {rule for edge in jobs for rule in edge}
    )
    assert workflow_dag.stage_of("generate_value_d") == workflow_dag.stage_of("train_rloo")
    found = workflow_dag.hand_overs(jobs)
    # Trained models are sampled by the rules that came before.
    assert ("policies", "samples, scored") in found
    assert ("samples, scored", "λ of palettes") in found
    assert ("judged", "shown") in found
    assert ("models and rewards", "λ of palettes") not in found, "it goes by the samples"
    workflow_dag.draw(study(), [tmp_path / "dag.png"])
    texts = [text.get_text() for text in drawn[0].axes[0].texts if text.get_text()]
    assert [text for text in texts if text in workflow_dag.PLACES] == list(members)
    counted = dict(re.findall(r"(\w+)\xa0×(\d+)", " ".join(texts)))
    assert {rule: int(number) for rule, number in counted.items()} == {
        rule: number for rule, number in rules.items() if number > 1
    }
    boxes = drawn[0].axes[0].patches
    assert len(boxes) == len(members) <= 7
    # No text leaves its box; places are those of the figure's own dpi.
    renderer = FigureCanvasAgg(drawn[0]).get_renderer()
    inside = [text for text in drawn[0].axes[0].texts if text.get_text()]
    for i, box in enumerate(boxes):
        frame = box.get_window_extent(renderer)
        for text in inside[2 * i : 2 * i + 2]:
            shown = text.get_window_extent(renderer)
            assert frame.x0 <= shown.x0 <= shown.x1 <= frame.x1
            assert frame.y0 <= shown.y0 <= shown.y1 <= frame.y1


def test_the_graph_of_jobs_is_read_from_what_snakemake_prints(tmp_path: Path) -> None:
    path = tmp_path / "jobs.dot"
    path.write_text(
        'digraph snakemake_dag {\n    graph[bgcolor=white];\n\t0[label = "report", '
        'color = "0.48 0.6 0.85"];\n\t1[label = "train_dpo\\nvariant: a"];\n\t1 -> 0\n'
        '\t2[label = "train_dpo\\nvariant: b"];\n\t2 -> 0\n}\n'
    )
    assert read_graph(path) == ({"report": 1, "train_dpo": 2}, [("train_dpo", "report")])
    path.write_text("no graph")
    with pytest.raises(InputError, match="holds no graph of jobs"):
        read_graph(path)


def test_paths_and_rounds_show_the_tables(drawn: list[Figure], tmp_path: Path) -> None:
    palette_path.draw(study(), [tmp_path / "paths.png"])
    sequential.draw(study(), [tmp_path / "rounds.png"])
    table = study().tables["paths"].query("palette == 'hhh-60'")
    verdicts = drawn[0].axes[0]
    first = [bar for bar in verdicts.patches if bar.get_y() + bar.get_height() / 2 == 0]
    ends = [100 * min(table["share"].max(), table[e].iloc[0]) for e in ("supportable", "feasible")]
    assert [bar.get_x() + bar.get_width() for bar in first] == pytest.approx(ends)
    assert first[1].get_x() == pytest.approx(ends[0])
    nats = next(line for line in drawn[0].axes[2].lines if line.get_label() == "hhh-60")
    known = table[table["verdict"] == "supported"]
    assert nats.get_ydata() == pytest.approx(known["kl"])
    rounds = study().tables["rounds"].query("palette == 'hhh-60' and value == 'humor'")
    line = next(line for line in drawn[1].axes[0].lines if line.get_label() == "Humor")
    gap = (rounds["level"] - rounds["target"]) / rounds["spread"]
    assert line.get_ydata() == pytest.approx(gap)
    first = rounds.iloc[0]
    at_once = (first["simultaneous"] - first["target"]) / first["spread"]
    hollow = [one for one in drawn[1].axes[0].lines if one.get_markerfacecolor() == "none"]
    assert tuple(*hollow[0].get_xydata()) == pytest.approx((5, at_once))
    assert len(hollow) == len(figure_study.LABELS)
    for axes in drawn[1].axes:
        (reached,) = axes.patches
        assert (reached.get_y(), reached.get_height()) == (0, axes.get_ylim()[1])


def test_lambda_in_the_plane(drawn: list[Figure], tmp_path: Path) -> None:
    feasible_lambda.draw(study(), [tmp_path / "plane.png"])
    table = study().tables["random"]
    part = table[(table["n_values"] == 2) & (table["kind"] == "reference")]
    assert drawn[0].axes[0].lines[0].get_xdata() == pytest.approx(part["humor_weight"])
    dots = [tuple(*one.get_xydata()) for one in drawn[0].axes[1].lines if len(one.get_xdata()) == 1]
    kept = table[table["kind"] == "palette"].groupby("n_values").size()
    assert dict(dots) == pytest.approx({n: 100 * kept.get(n, 0) / 60 for n in range(2, 7)})
    assert feasible_lambda.title(study()) == (
        f"Random palettes that are feasible: {kept[2]} of 60 with 2 values, "
        f"{kept.get(6, 0)} of 60 with 6 values"
    )


def test_steps_at_which_nothing_was_logged_are_gaps(tmp_path: Path) -> None:
    path = tmp_path / "helpful.csv"
    path.write_text("step,loss,accuracy\n10,0.5,\n20,,0.75\n")
    table = read_metrics(path)
    assert table["loss"].tolist()[0] == 0.5
    assert table["accuracy"].tolist()[1] == 0.75
    assert table[["loss", "accuracy"]].isna().to_numpy().tolist() == [[False, True], [True, False]]


def small_study() -> FigureData:
    """Two values, three policies; every number is chosen by hand."""

    def by_value(**columns: list[float]) -> pd.DataFrame:
        return pd.DataFrame(columns, index=["a", "b"])

    def level(means: list[float], quantiles: list[float], kl: float, tokens: float) -> pd.DataFrame:
        table = by_value(mean=means, low=[m - 0.1 for m in means], high=[m + 0.1 for m in means])
        table = table.assign(base_quantile=quantiles, kl=kl, kl_se=0.1, n_tokens=tokens)
        table = table.assign(kl_kind="samples", expected=math.nan, expected_se=math.nan)
        return table.assign(se=0.05, sd=0.5, heaviest=0.1, heaviest_reward=0.0, n_samples=40)

    asked = figure_study.palette("hhh-60")
    asked = replace(
        asked,
        levels={"a": "q60", "b": "mean"},
        asked={"a": 2.0, "b": 0.0},
        lam={"a": float(np.log(3)), "b": 0.0},
        scope="prompt",
    )
    # Each prompt has one candidate of reward 1, to which λ gives the weight 3/4.
    pool = pd.DataFrame(
        {
            "prompt_id": ["p", "p", "q", "q"],
            "candidate": [0, 1, 0, 1],
            "split": "test",
            "a": [0.0, 1.0, 1.0, 0.0],
            "b": [0.0, 1.0, 2.0, 3.0],
        }
    )
    draws = pd.DataFrame(
        {
            "n_values": [2] * 3 + [3] * 4,
            "kind": ["palette", "reference", "reference", *["reference"] * 4],
            "a_level": [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0],
            "b_level": [9.0, 0.0, 9.0, 3.0, 2.0, 1.0, 0.0],
        }
    )
    turns = pd.DataFrame(
        {
            "palette": "hhh-60",
            "round": [0, 0, 1, 1, 4, 4],
            "value": ["a", "b"] * 3,
            "target": [2.0, 1.0] * 3,
            "level": [0.0, 0.0, 1.0, 3.0, 1.8, 1.0],
            "spread": [2.0, 1.0] * 3,
        }
    )
    trained = pd.DataFrame({"step": range(40), "loss": [4.0, 2.0, *[1.0] * 36, 0.5, 0.25]})
    families = [
        {"family": "f_x", "policies": 4, "efficiency": 0.25, "level_efficiency": 0.5, "slack": 0.0},
        {"family": "g", "policies": 1, "efficiency": 1.0, "level_efficiency": 0.0, "slack": 0.0},
    ]
    way = {"palette": "hhh-60", "share": [0.0, 0.5, 1.0]}
    verdicts = ["supported", "supported", "infeasible"]
    return FigureData(
        labels={"a": "A", "b": "B"},
        units={},
        policies={"base/base": None, "f_x/one": "hhh-60", "g/two": None},
        levels={
            "base/base": level([1.0, 0.0], [0.5, 0.5], 0.0, 10.0),
            "f_x/one": level([1.25, -0.05], [0.6, 0.45], 0.5, 12.0),
            "g/two": level([1.1, 0.5], [0.55, 0.9], 0.2, 9.0),
            "f_x/two": level([1.5, -1.0], [0.7, 0.2], 0.2, 9.0),
        },
        winrates={
            "f_x/one": by_value(winrate=[0.7, 0.4], low=[0.6, 0.3], even_low=[0.45, 0.2]),
            "g/two": by_value(winrate=[0.55, 0.9], low=[0.45, 0.8], even_low=[0.4, 0.7]),
        },
        palettes={"hhh-60": asked},
        pool=pool,
        rewards={"base/base": pool, "g/two": pool.assign(a=1.0)},
        policy="g/two",
        training={"f_x/one": trained},
        jobs=[("solve", "plot"), ("merge", "solve"), ("merge", "plot")],
        rules={"solve": 1, "merge": 1, "plot": 3},
        mixtures={"f_x/one": {"a": 0.1, "b": 0.9}, "g/two": {}, "f_x/two": {"a": 0.75, "b": 0.25}},
        tables={
            "random": draws,
            "rounds": turns,
            "families": pd.DataFrame(families),
            "fronts": pd.DataFrame({"across": ["a"], "up": ["b"]}),
            "paths": pd.DataFrame(
                way | {"verdict": verdicts, "supportable": 0.625, "feasible": 0.75}
            ),
        },
    )


@pytest.mark.parametrize(
    ("figure", "finding"),
    [
        (
            delivery,
            "Raised levels: 0 of 1 reached, 0 undecided, 1 missed. Levels to maintain: 0 of 1 "
            "reached, 1 undecided, 0 missed. Furthest below: A of f_x/one, asked +2.00 sd, "
            "realised +0.50 (+0.30 to +0.70).",
        ),
        (
            heat_map,
            "Of 4 levels 2 are clearly above the base model's, 0 clearly below, 2 undecided. "
            "Largest clear rise: B of g/two, +1.00 sd (+0.72 to +1.28).",
        ),
        (
            pareto,
            "0 of 2 policies are clearly above the base model in A and B.",
        ),
        (
            reward_vs_kl,
            "Highest levels above the base: A +0.50 sd at 0.5 nats (f_x/one). Furthest from the "
            "base model, as measured on samples: f_x/one, 0.5 nats, interval 0.304 to 0.696.",
        ),
        (
            reward_vs_length,
            "Of 4 win rates 2 are clearly above one half; at equal length 1 of these still are. "
            "Answers of the base model have 10.0 tokens; longest f_x/one with 12.0 (+20 %), "
            "shortest g/two with 9.0 (-10 %).",
        ),
        (palette_path, "Supported along the way: hhh-60 to 62 %."),
        (
            before_after,
            "Moved most, in standard deviations of the base model: hhh-60 A from 0.5 to 0.75.",
        ),
        (mixtures, "f_x, 10 % to 75 % A: A from 1.25 to 1.5 and B from -0.05 to -1."),
        (
            sequential,
            "Furthest below its target, in standard deviations: hhh-60 0.5 after one round, 0.1 "
            "after 4.",
        ),
        (
            random_levels,
            "Closest together: A and B (r −1.00); most against each other: A and B (r −1.00). 95 % "
            "intervals: −1.00 to −1.00; −1.00 to −1.00.",
        ),
        (
            feasible_lambda,
            "Random palettes that are feasible and within the cap: 50 % (9.5 to 91) with 2 values, "
            "0 % (0 to 49) with 3 values.",
        ),
        (reward_histograms, "Means of g/two: A 1 (base 0.5), B 1.5 (base 1.5)."),
        (
            training_curves,
            "From the first to the last twentieth of the training: f_x/one loss 3 to 0.375.",
        ),
        (
            workflow_dag,
            "5 jobs of 3 rules in 3 stages make the study; most are of plot (3).",
        ),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_a_caption_says_what_was_measured(figure: Any, finding: str) -> None:
    assert figure.finding(small_study()) == finding


def test_a_caption_says_what_its_figure_leaves_out() -> None:
    data = small_study()
    palette = data.palettes["hhh-60"]
    names = ["a", "b", "c", "d", "e"]
    raised = replace(palette, levels=dict.fromkeys(names, "q60"))
    palettes = {f"p{i}": raised for i in range(6)}
    more = replace(data, palettes=palettes, policies={"base/base": None, "g/two": None})
    more = replace(more, labels={name: name.upper() for name in names})
    table = pd.DataFrame({"mean": 0.0, "low": 0.0, "high": 0.0, "winrate": 0.5}, index=names)
    table = table.assign(kl=0.1, kl_se=0.01, kl_kind="samples", expected=math.nan)
    table = table.assign(expected_se=math.nan, se=0.1, sd=1.0)
    tables = dict.fromkeys(more.policies, table)
    more = replace(more, levels=tables, winrates=tables)
    assert reward_vs_kl.finding(more).endswith(" 3 of 5 values shown.")
    pool = pd.DataFrame(dict.fromkeys(names, data.pool["a"]))
    pool = pool.assign(**data.pool[["prompt_id", "candidate", "split"]])
    found = before_after.finding(replace(more, pool=pool))
    assert found.endswith(" 4 of 6 palettes shown. 3 of 5 values shown.")
    assert pareto.finding(replace(data, chosen=["a", "b", "c"])).endswith(" 2 of 3 values shown.")
    draws = data.tables["random"]
    wide = draws.assign(**{f"v{i}_level": draws["a_level"] for i in range(7)})
    many = replace(data, tables={"random": wide}, labels={f"v{i}": str(i) for i in range(7)})
    assert random_levels.finding(many).endswith(" 6 of 7 values shown.")


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_of_the_base_model_alone_has_nothing_to_find(name: str) -> None:
    figure = import_module(f"polyalign.plots.figures.{name}")
    if not {"paths", "winrate"} & set(figure.FIGURE.needs):
        found = figure.finding(only())
        assert "Highest" not in found
        assert "Largest" not in found
