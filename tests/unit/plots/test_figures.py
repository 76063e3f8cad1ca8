import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import figure_study
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from polyalign.errors import InputError
from polyalign.evaluate.csv import write_csv
from polyalign.plots import asked_vs_realised, radar, theme, winrate_scatter
from polyalign.plots.data import FigureData, load

FOLDER = Path(theme.__file__).parent
HELPERS = {"__init__", "theme", "data", "_points"}
FIGURES = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem not in HELPERS)


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
def test_figure_is_written_whole_and_repeats_its_bytes(name: str, tmp_path: Path) -> None:
    figure = import_module(f"polyalign.plots.{name}")
    assert set(figure.NEEDS) <= {"summary", "levels", "winrate", "palettes"}
    runs = [[tmp_path / run / f"{name}.{kind}" for kind in ("pdf", "png")] for run in "ab"]
    for output in runs:
        figure.draw(study(), output)
    for first, second in zip(*runs, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert runs[0][0].read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in runs[0][0].read_bytes()
    image = imread(runs[0][1])
    assert image.shape[1] >= 300 * theme.COLUMN
    assert image[..., :3].std() > 0.05
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [
        f"{name}.pdf",
        f"{name}.png",
    ]


def test_a_dry_run_imports_neither_matplotlib_nor_pandas() -> None:
    code = "import sys\n" + "".join(f"import polyalign.plots.{name}\n" for name in FIGURES)
    code += "print([name for name in ('matplotlib', 'pandas', 'numpy') if name in sys.modules])"
    environment = {"PYTHONPATH": str(FOLDER.parents[1])}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_scatter_shows_every_win_rate_with_its_interval(
    drawn: list[Figure], tmp_path: Path
) -> None:
    winrate_scatter.draw(study(), [tmp_path / "figure.png"])
    panels = drawn[0].axes
    pairs = [("helpful", "harmless"), ("helpful", "humor"), ("harmless", "humor")]
    shown = [name for name in study().policies if name != "base/base"]
    assert winrate_scatter.value_pairs(study()) == pairs
    for axes, (across, up) in zip(panels, pairs, strict=True):
        assert axes.get_xlabel() == f"win rate: {figure_study.LABELS[across]}"
        assert axes.get_ylabel() == f"win rate: {figure_study.LABELS[up]}"
        assert stars(axes) == [(0.5, 0.5)]
        assert len(points(axes)) == len(shown) == 8
        bars = {tuple(map(tuple, line.get_xydata())) for line in axes.lines}
        for number, name in enumerate(shown, start=1):
            table = study().winrates[name]
            x, y = table["winrate"][across], table["winrate"][up]
            assert points(axes)[str(number)] == (x, y)
            assert ((table["low"][across], y), (table["high"][across], y)) in bars
            assert ((x, table["low"][up]), (x, table["high"][up])) in bars
    key = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert key[0] == "base model"
    assert "map-d: 1 hhh-60,  2 hhh-65,  3 humor-70,  4 harmless-70" in key
    assert "rloo: 8 hhh-60" in key


def test_scatter_without_palettes_takes_helpful_and_harmless_first(tmp_path: Path) -> None:
    data = replace(only("dpo/beta-0.1_harmless-0.1"), palettes={})
    assert winrate_scatter.value_pairs(data)[0] == ("helpful", "harmless")
    one = replace(data, labels={"humor": "Humor"})
    assert winrate_scatter.value_pairs(one) == [("humor", "humor")]
    winrate_scatter.draw(one, [tmp_path / "figure.png"])


def test_many_policies_are_told_apart_by_family(drawn: list[Figure], tmp_path: Path) -> None:
    names = [f"soup/{i}" for i in range(30)]
    table = study().winrates["soup/harmless-0.5"]
    data = replace(
        study(),
        policies={"base/base": None, **dict.fromkeys(names)},
        winrates=dict.fromkeys(names, table),
    )
    winrate_scatter.draw(data, [tmp_path / "figure.png"])
    assert set(points(drawn[0].axes[0])) == {""}
    key = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert key == ["base model", "soup (30 policies)"]


def test_asked_and_realised_levels_are_where_they_belong(
    drawn: list[Figure], tmp_path: Path
) -> None:
    asked_vs_realised.draw(study(), [tmp_path / "figure.png"])
    values = list(figure_study.LABELS)
    assert [axes.get_title() for axes in drawn[0].axes] == [
        "Humor (logit)",
        *list(figure_study.LABELS.values())[1:],
    ]
    shown = [name for name, palette in study().policies.items() if palette]
    for axes, value in zip(drawn[0].axes, values, strict=True):
        base = study().levels["base/base"]["mean"][value]
        assert stars(axes) == [(base, base)]
        assert axes.get_xlim() == axes.get_ylim()
        diagonal = axes.lines[0].get_xydata()
        assert (diagonal[:, 0] == diagonal[:, 1]).all()
        targets: dict[float, list[float]] = {}
        for number, name in enumerate(shown, start=1):
            x, y = points(axes)[str(number)]
            level = study().levels[name]
            target = study().palettes[study().policies[name]].asked[value]
            assert y == level["mean"][value]
            assert [(x, level["low"][value]), (x, level["high"][value])] in [
                [tuple(end) for end in line.get_xydata()] for line in axes.lines
            ]
            bars = [line.get_ydata() for line in axes.lines if np.mean(line.get_xdata()) == x]
            assert any(list(bar) == [target, target] for bar in bars)
            targets.setdefault(target, []).append(x)
        for target, places in targets.items():
            assert np.mean(places) == pytest.approx(target)
            assert len(set(places)) == len(places)


def test_asked_leaves_out_what_no_palette_asks(drawn: list[Figure], tmp_path: Path) -> None:
    data = only("map-d/hhh-60")
    palette = data.palettes["hhh-60"]
    fewer = replace(palette, asked={name: palette.asked[name] for name in ("humor", "helpful")})
    asked_vs_realised.draw(replace(data, palettes={"hhh-60": fewer}), [tmp_path / "figure.png"])
    assert [axes.get_title() for axes in drawn[0].axes] == ["Humor (logit)", "Helpful"]


def test_asked_needs_a_policy_with_a_palette(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no policy realises a palette"):
        asked_vs_realised.draw(only("dpo/beta-0.1_harmless-0.1"), [tmp_path / "figure.png"])
    assert list(tmp_path.iterdir()) == []


def test_radar_has_a_polygon_a_policy_in_base_quantiles(
    drawn: list[Figure], tmp_path: Path
) -> None:
    radar.draw(study(), [tmp_path / "figure.png"])
    assert [axes.get_title() for axes in drawn[0].axes] == ["map-d", "dpo", "soup", "rloo"]
    colours: dict[str, set[str]] = {}
    for axes in drawn[0].axes:
        family = axes.get_title()
        lines = {line.get_label(): line for line in axes.lines}
        names = {name.split("/")[1]: name for name in study().of(family)}
        assert list(lines) == ["base model", *names]
        for label, name in (("base model", "base/base"), *names.items()):
            levels = 100 * study().levels[name]["base_quantile"][list(figure_study.LABELS)]
            assert lines[label].get_ydata().tolist() == [*levels, levels.iloc[0]]
            low, high = axes.get_ylim()
            assert low < levels.min() <= levels.max() <= high
            colours.setdefault(label, set()).add(lines[label].get_color())
        dashed = {label for label, line in lines.items() if line.get_linestyle() == "--"}
        assert dashed == ({"humor-70", "harmless-70"} if family == "map-d" else set())
        labels = [text.get_text() for text in axes.get_xticklabels()]
        assert labels == list(figure_study.LABELS.values())
        assert np.diff(axes.get_xticks()) == pytest.approx(math.tau / 6)
    assert all(len(used) == 1 for used in colours.values())  # hhh-60 looks the same everywhere


def test_figures_of_the_base_model_alone(drawn: list[Figure], tmp_path: Path) -> None:
    radar.draw(only(), [tmp_path / "radar.png"])
    winrate_scatter.draw(only(), [tmp_path / "scatter.png"])
    assert [line.get_label() for line in drawn[0].axes[0].lines] == ["base model"]
    assert stars(drawn[1].axes[0]) == [(0.5, 0.5)]


def test_text_is_legible_at_a_columns_width(drawn: list[Figure], tmp_path: Path) -> None:
    for name in FIGURES:
        import_module(f"polyalign.plots.{name}").draw(study(), [tmp_path / "figure.png"])
    for figure in drawn:
        assert figure.get_figwidth() in (theme.COLUMN, theme.PAGE)
        sizes = [text.get_fontsize() for text in figure.findobj(match=_written)]
        assert min(sizes) >= 5
        assert {*sizes} & {7.0, 8.0}  # those of the theme, not matplotlib's own
        assert 10.0 not in sizes


def _written(artist: Any) -> bool:
    return hasattr(artist, "get_fontsize") and bool(artist.get_text())


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
        labels=data.labels, units=data.units, policies=data.policies, levels=reversed(files)
    )
    assert list(read.levels) == list(data.policies)
    assert read.levels["dpo/beta-0.1_harmless-0.9"]["mean"].equals(
        data.levels["dpo/beta-0.1_harmless-0.9"]["mean"]
    )
    assert (read.winrates, read.palettes, read.summary) == ({}, {}, None)
