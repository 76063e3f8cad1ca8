"""Decoding by resampling, against exact expectations."""

import numpy as np
import pandas as pd
import pytest
from pooldata import pool

from polyalign.decode import resample
from polyalign.errors import InputError
from polyalign.tables import hold_out


def test_draws_have_the_expectation_of_the_tilted_policy() -> None:
    frame = pool()
    lam = {"humor": 0.8, "helpful": 0.3}
    drawn = resample(frame, lam, draws=400, seed=1)
    test = frame[frame["split"] == "test"].copy()
    test["w"] = np.exp(test["humor"] * 0.8 + test["helpful"] * 0.3)
    test["w"] /= test.groupby("prompt_id")["w"].transform("sum")
    for value in lam:
        expected = (test["w"] * test[value]).sum() / test["prompt_id"].nunique()
        assert drawn[value].mean() == pytest.approx(expected, abs=0.015)
    kl = (test["w"] * np.log(test["w"] * 16)).groupby(test["prompt_id"]).sum()
    found = drawn.groupby("prompt_id")["kl"].first()
    assert np.allclose(found, kl.loc[found.index])


def test_lambda_zero_draws_uniformly_and_costs_nothing() -> None:
    drawn = resample(pool(), {"humor": 0.0, "helpful": 0.0}, draws=200, seed=1)
    assert np.allclose(drawn["kl"], 0.0, atol=1e-12)
    counts = drawn["response"].value_counts()
    assert counts.size == 200 * 16
    assert counts.mean() == pytest.approx(200 / 16)


def test_draws_repeat_with_the_seed() -> None:
    one, same, other = (resample(pool(), {"humor": 1.0}, draws=2, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert (one["response"] != other["response"]).any()


def test_a_single_candidate_is_refused() -> None:
    frame = pool()
    frame = frame[~((frame["prompt"] == "prompt 300") & (frame["candidate"] > 0))]
    with pytest.raises(InputError, match=r"1 of 200 prompts"):
        resample(frame, {"humor": 1.0}, draws=1, seed=1)


def test_the_reference_shares_no_candidate_with_the_pool() -> None:
    kept, reference = hold_out(pool())
    assert (kept.groupby("prompt_id").size() == 12).all()
    assert set(reference["split"]) == {"test"}
    assert not set(kept["response"]) & set(reference["response"])


def test_a_table_with_one_candidate_a_prompt_is_both() -> None:
    kept, reference = hold_out(pool(candidates=1))
    assert len(kept) == 400
    assert len(reference) == 200
