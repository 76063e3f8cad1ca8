"""Progress of long reads: lines on stderr, only on a terminal."""

import sys

import numpy as np
import pandas as pd

from polyalign import cli
from polyalign.cli.table import reading
from polyalign.palettes import streamed as streamed_pool


def test_a_long_read_says_how_far_it_is(capsys, monkeypatch, tmp_path):
    path = tmp_path / "rewards.parquet"
    frame = pd.DataFrame({"prompt": np.repeat([f"p{i}" for i in range(10)], 4)})
    frame.assign(humor=np.random.default_rng(0).normal(size=40)).to_parquet(path)
    monkeypatch.setattr(reading, "STREAM_CELLS", 10)
    monkeypatch.setattr(reading, "EVERY", 0.0)
    monkeypatch.setattr(streamed_pool, "BATCH_ROWS", 10)
    arguments = ["solve", str(path), "--target", "humor=mean+0.1sd"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[:4] == [f"reading {path}: pass 1, {share}%" for share in (25, 50, 75, 100)]
    assert f"reading {path}: pass 2, 100%" in lines
    monkeypatch.setattr(reading, "EVERY", 1e9)
    assert cli.main(arguments) == 0
    assert capsys.readouterr().err == ""
