"""`--plot`: what is drawn are the numbers that the command prints."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from polyalign import cli
from polyalign.cli.table import reading


@pytest.fixture
def table(tmp_path):
    draws = np.random.default_rng(0)
    rewards = draws.normal(size=(30, 1, 2)) + draws.normal(size=(30, 10, 2))
    frame = pd.DataFrame(rewards.reshape(-1, 2), columns=["humor", "helpful"])
    frame.insert(0, "prompt", np.repeat([f"question {i}" for i in range(30)], 10))
    path = tmp_path / "rewards.parquet"
    frame.to_parquet(path)
    return path


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written, to read positions back from their axes."""
    figures = []
    write = Figure.savefig

    def keep(self, *arguments, **options):
        figures.append(self)
        write(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def run(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def record_of(capsys, *arguments):
    status, out, err = run(capsys, *arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


BOTH = ("--value", "humor", "--value", "helpful")


def test_the_front_is_drawn_where_it_is(capsys, table, drawn, tmp_path):
    path = tmp_path / "front.svg"
    found = record_of(capsys, "pareto", table, *BOTH, "--kl", "0.4", "--plot", path)
    assert path.read_bytes().startswith(b"<?xml")
    (axes,) = drawn[0].axes
    black = [line for line in axes.lines if line.get_color() == "black"]
    front = next(line for line in black if len(line.get_xdata()) > 1)
    sd = record_of(capsys, "levels", table, *BOTH)["sd"]
    above = (np.array(found["levels"]) - found["base"]) / sd
    np.testing.assert_allclose(front.get_xydata(), above, rtol=1e-6)
    star = next(line for line in axes.lines if line.get_marker() == "*")
    np.testing.assert_allclose(star.get_xydata(), [[0, 0]])


@pytest.mark.parametrize("command", ["solve", "feasible"])
def test_the_way_to_a_palette_passes_its_kl(capsys, table, drawn, tmp_path, command):
    targets = ("--target", "humor=q60", "--target", "helpful=q60")
    run(capsys, command, table, *targets, "--plot", tmp_path / "path.png")
    solved = record_of(capsys, "solve", table, *targets)
    nats = drawn[0].axes[2]
    points = np.concatenate([line.get_xydata() for line in nats.lines[:1]])
    at = np.interp(100, points[:, 0], points[:, 1])
    assert at == pytest.approx(solved["kl"], rel=0.02)


def test_rounds_are_drawn_in_standard_deviations(capsys, table, drawn, tmp_path):
    targets = ("--target", "humor=q60", "--target", "helpful=q65", "--rounds", "3")
    found = record_of(capsys, "sequential", table, *targets, "--plot", tmp_path / "rounds.pdf")
    base = record_of(capsys, "levels", table, *BOTH)
    gaps = (np.array([base["base"], *found["levels"]]) - found["target"]) / base["sd"]
    (axes,) = drawn[0].axes
    for i, name in enumerate(("humor", "helpful")):
        line = next(line for line in axes.lines if line.get_label() == name)
        np.testing.assert_allclose(line.get_ydata(), gaps[:, i], atol=1e-9)


def test_random_palettes_are_drawn_at_their_lam(capsys, table, drawn, tmp_path):
    found = record_of(capsys, "random", table, "--count", "50", "--plot", tmp_path / "random.png")
    sd = record_of(capsys, "levels", table)["sd"]
    plane, shares = drawn[0].axes
    for line, lam in zip(plane.lines, (found["reference_lam"], found["lam"]), strict=True):
        np.testing.assert_allclose(line.get_xydata(), np.array(lam) * sd)
    (dot,) = (line for line in shares.lines if line.get_marker() == "o")
    np.testing.assert_allclose(dot.get_xydata(), [[2, 100 * found["success"]]])


def test_what_cannot_be_drawn_is_one_line(capsys, table, tmp_path, monkeypatch):
    target = ("--target", "humor=q60")
    status, out, err = run(capsys, "solve", table, *target, "--plot", "x.gif")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--plot: x.gif: expected a .pdf, .png or .svg file" in err
    nowhere = table / "x.png"  # below a file
    status, out, err = run(capsys, "solve", table, *target, "--plot", nowhere)
    assert (status, out) == (2, "")
    assert f"--plot {nowhere}: cannot be written" in err
    monkeypatch.setattr(reading, "STREAM_CELLS", 10)
    status, _, err = run(capsys, "solve", table, *target, "--plot", tmp_path / "x.png")
    assert status == 2
    assert "too large to be drawn from" in err
