from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pooldata import pool

from polyalign.data.keys import CHANCE
from polyalign.data.tables import write_table
from polyalign.errors import InputError
from polyalign.evaluate.expected import read_choices
from polyalign.evaluate.navigation import families, prompt_levels
from polyalign.evaluate.winrate import winrate
from polyalign.sampling.select import resample, weighted_candidates


def test_a_policy_that_chooses_is_read_with_all_its_candidates(tmp_path: Path) -> None:
    lam = {"humor": 0.8, "helpful": 0.3}
    made = resample(pool(), lam, draws=1, seed=1)
    own, base = (tmp_path / name for name in ("own.parquet", "base.parquet"))
    write_table(made.frame, own, {"lam": made.lam, "greedy": made.greedy})
    reference = pool().query("split == 'test' and candidate < 4")
    write_table(reference, base, {})
    pd.testing.assert_frame_equal(read_choices(base, None), reference.reset_index(drop=True))
    frame = read_choices(own, pool())
    # What many draws come to, with the standard error of one draw far above.
    many = resample(pool(), lam, draws=300, seed=2).frame
    rates = {
        name: winrate(one, reference, ["humor"], bootstrap=20, seed=1).iloc[0]
        for name, one in (("exact", frame), ("many", many), ("one", made.frame))
    }
    assert rates["exact"]["winrate"] == pytest.approx(rates["many"]["winrate"], abs=0.003)
    assert rates["exact"]["se"] < 0.7 * rates["one"]["se"]
    assert CHANCE in frame
    with pytest.raises(InputError, match=r"own\.parquet: chooses among the candidates of a pool"):
        read_choices(own, None)
    write_table(made.frame, own, {"lam": {}, "greedy": None})
    pd.testing.assert_frame_equal(read_choices(own, pool()), made.frame)  # it chooses otherwise


def test_levels_and_win_rates_of_a_family_are_those_of_all_candidates() -> None:
    lam = {"humor": 1.5, "helpful": 0.0}
    made = weighted_candidates(pool(), lam, greedy=False)
    reference = pool().query("split == 'test' and candidate < 4")
    frames = {"base/base": reference, "map-d/x": made}
    whole = {"opponent": "base/base", "slack": 0.0, "reference": {}, "scale": {}}
    table = families(frames, ["humor"], **whole, bootstrap=20, seed=1).set_index("family")
    ids = sorted(reference["prompt_id"].unique())
    sums, sizes = prompt_levels(made, ["humor"], ids)
    assert sizes == pytest.approx(np.ones(len(ids)))
    exact = resample(pool(), lam, draws=1, seed=1).expected["humor"]["level"]
    assert sums.mean() == pytest.approx(exact)
    # One policy is its whole front: in one dimension the volume is its gain over the base level.
    gain = (exact - reference["humor"].mean()) / reference["humor"].std(ddof=0)
    assert table.loc["map-d", "hypervolume"] == pytest.approx(gain)
    assert table.loc["map-d", "navigable"] == 1
