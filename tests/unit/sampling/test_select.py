"""Decoding by selection among candidates, against exact expectations."""

import numpy as np
import pandas as pd
import pytest
from pooldata import pool

from polyalign.data.keys import CHANCE
from polyalign.data.rewards_table import hold_out
from polyalign.errors import InputError
from polyalign.families import map_d, morl_d
from polyalign.map.random_lam import random_lam
from polyalign.sampling.select import (
    best_of,
    best_of_palette,
    resample,
    weighted_candidates,
)
from polyalign.sampling.select import map_d as select_map_d
from polyalign.sampling.select import morl_d as select_morl_d


def test_draws_have_the_expectation_of_the_tilted_policy() -> None:
    frame = pool()
    lam = {"humor": 0.8, "helpful": 0.3}
    drawn = resample(frame, lam, draws=400, seed=1).frame
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
    drawn = resample(pool(), {"humor": 0.0, "helpful": 0.0}, draws=200, seed=1).frame
    assert np.allclose(drawn["kl"], 0.0, atol=1e-12)
    counts = drawn["response"].value_counts()
    assert counts.size == 200 * 16
    assert counts.mean() == pytest.approx(200 / 16)


def test_draws_repeat_with_the_seed() -> None:
    one, same, other = (resample(pool(), {"humor": 1.0}, draws=2, seed=s).frame for s in (1, 1, 2))
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


def test_a_table_without_test_prompts_is_judged_on_all_only_if_asked() -> None:
    fitted = pool().assign(split="fit")
    kept, reference = hold_out(fitted, judge_on_all=True)
    assert kept.equals(fitted)
    assert reference.equals(fitted.assign(split="test"))
    assert hold_out(fitted)[1].empty
    assert len(hold_out(pool(), judge_on_all=True)[1]) == len(hold_out(pool())[1])


def test_the_expectation_is_that_of_the_draws() -> None:
    """Exact levels lie where many draws do; so do those of a value that λ leaves out."""
    frame = pool(60).assign(other=lambda table: table["humor"] ** 2, truncated=False)
    made = resample(frame, {"humor": 0.9}, draws=3000, seed=1)
    assert set(made.expected) == {"humor", "helpful", "other"}
    for value, found in made.expected.items():
        assert made.frame[value].mean() == pytest.approx(found["level"], abs=0.02)
    test = frame[frame["split"] == "test"]
    weights = np.exp(0.9 * test["humor"])
    weights /= weights.groupby(test["prompt_id"]).transform("sum")
    levels = (weights * test["helpful"]).groupby(test["prompt_id"]).sum()
    assert made.expected["helpful"]["level"] == pytest.approx(levels.mean())
    assert made.expected["helpful"]["se"] == pytest.approx(levels.sem())


def test_the_best_of_k_is_the_limit_of_large_lambda() -> None:
    lam = {"humor": 0.8, "helpful": 0.3}
    made = best_of(pool(), lam, seed=1)
    test = pool()[lambda table: table["split"] == "test"]
    best = (0.8 * test["humor"] + 0.3 * test["helpful"]).groupby(test["prompt_id"]).idxmax()
    assert set(made.frame["response"]) == set(test.loc[best, "response"])
    assert np.allclose(made.frame["kl"], np.log(16) - 15 / 16)
    far = resample(pool(), {name: 1e7 * weight for name, weight in lam.items()}, draws=1, seed=1)
    assert made.expected["humor"]["level"] == pytest.approx(far.expected["humor"]["level"])


def test_the_best_by_a_palette_uses_its_lambda() -> None:
    palette = {"values": ["humor", "helpful"], "lam": [0.8, 0.3], "lam_train": [0.0, 9.0]}
    made = best_of_palette(pool(), palette, seed=1)
    direct = best_of(pool(), {"humor": 0.8, "helpful": 0.3}, seed=1)
    assert made.lam == direct.lam
    pd.testing.assert_frame_equal(made.frame, direct.frame)


def test_the_kl_of_the_best_of_k_is_that_of_the_policy() -> None:
    """The best of 5 independent draws from 12 answers, enumerated: the bound is close above."""
    base = np.full(12, 1 / 12)
    below = np.arange(13) / 12
    policy = below[1:] ** 5 - below[:-1] ** 5
    kl = float(np.sum(policy * np.log(policy / base)))
    made = best_of(ragged([[0.0, 1.0, 2.0, 3.0, 4.0]]), {"humor": 1.0}, seed=1)
    (bound,) = made.frame["kl"]
    assert kl < bound < 1.1 * kl
    assert bound < np.log(5)


@pytest.mark.parametrize("greedy", [False, True])
def test_the_candidates_have_the_chances_that_answers_are_drawn_with(greedy: bool) -> None:
    lam = {"humor": 0.8, "helpful": 0.3}
    made = best_of(pool(), lam, seed=1) if greedy else resample(pool(), lam, draws=1, seed=1)
    assert made.greedy == greedy
    shown = weighted_candidates(pool(), made.lam, greedy=made.greedy)
    assert np.allclose(shown.groupby("prompt_id")[CHANCE].sum(), 1)
    assert (shown[CHANCE] > 0).all()
    assert set(made.frame["response"]) <= set(shown["response"])
    for value in lam:
        level = (shown[CHANCE] * shown[value]).groupby(shown["prompt_id"]).sum().mean()
        assert level == pytest.approx(made.expected[value]["level"])


def test_equals_share_the_best_place() -> None:
    frame = pool(400).assign(humor=lambda table: (table["candidate"] < 4).astype(float))
    made = best_of(frame, {"humor": 1.0}, seed=1)
    assert np.allclose(made.frame["kl"], np.log(16) - 15 / 16)
    candidates = made.frame["response"].str[1:].astype(int) % 16
    assert candidates.value_counts().sort_index().index.tolist() == [0, 1, 2, 3]
    uniform = frame[(frame["split"] == "test") & (frame["candidate"] < 4)]
    assert made.expected["helpful"]["level"] == pytest.approx(uniform["helpful"].mean())


def test_random_lambda_is_uniform_in_direction_and_in_sum() -> None:
    draws = [random_lam(["a", "b", "c"], 6.0, seed) for seed in range(3000)]
    table = np.array([list(lam.values()) for lam in draws])
    sums = table.sum(axis=1)
    assert sums.max() <= 6.0
    assert sums.mean() == pytest.approx(3.0, abs=0.1)
    assert np.quantile(sums, 0.25) == pytest.approx(1.5, abs=0.15)
    shares = table / sums[:, None]
    assert np.allclose(shares.mean(axis=0), 1 / 3, atol=0.02)
    # A Dirichlet of ones has variance 2 / 36 in each of three shares.
    assert np.allclose(shares.var(axis=0), 2 / 36, atol=0.006)
    assert draws[5] == random_lam(["a", "b", "c"], 6.0, 5)


def test_lambda_of_ones_own_is_decoded_without_a_palette() -> None:
    lam = {"humor": 0.7, "helpful": 0.0}
    (policy,) = map_d.policies(map_d.Settings(lam={"mine": lam}, draws=2))
    assert policy.palette is None
    own = select_map_d(pool(), {}, seed=3, **policy.settings)
    direct = resample(pool(), lam, draws=2, seed=3)
    assert own.lam == lam
    pd.testing.assert_frame_equal(own.frame, direct.frame)
    solved = {"values": ["humor", "helpful"], "lam": [0.7, 0.0]}
    pd.testing.assert_frame_equal(select_map_d(pool(), solved, seed=3, draws=2).frame, direct.frame)


def test_more_random_policies_leave_the_first_as_they_were() -> None:
    few = morl_d.policies(morl_d.Settings(count=2))
    many = morl_d.policies(morl_d.Settings(count=12))
    assert [policy.variant for policy in few] == ["draw-1", "draw-2"]
    assert many[:2] == few
    one, other = (
        select_morl_d(pool(), {}, cap=2.0, values=None, draws=1, seed=seed) for seed in (1, 2)
    )
    assert set(one.lam) == {"humor", "helpful"}
    assert one.lam != other.lam
    alone = select_morl_d(pool(), {}, cap=2.0, values=["humor"], draws=1, seed=1)
    assert set(alone.lam) == {"humor"}
    assert 0 < alone.lam["humor"] <= 2.0


def ragged(rewards: list[list[float]]) -> pd.DataFrame:
    """A test split with one list of rewards `humor` per prompt; rows in another order."""
    rows = [(f"p{i}", j, one) for i, own in enumerate(rewards) for j, one in enumerate(own)]
    frame = pd.DataFrame(rows, columns=["prompt_id", "candidate", "humor"])
    frame["response"] = frame["prompt_id"] + "-" + frame["candidate"].astype(str)
    return frame.assign(split="test", logprob=-1.0).iloc[::-1]


def test_prompts_with_unlike_numbers_of_candidates_by_hand() -> None:
    # exp(λ r) is 1, 3 and 1, 1, 2 and 1, 9: shares 1/4, 3/4 and 1/4, 1/4, 1/2 and 1/10, 9/10.
    log = np.log
    rewards = [[0.0, log(3)], [0.0, 0.0, log(2)], [0.0, log(9)]]
    made = resample(ragged(rewards), {"humor": 1.0}, draws=4000, seed=3)
    drawn = made.frame
    assert drawn["candidate"].tolist() == list(range(4000)) * 3
    assert drawn["prompt_id"].tolist() == ["p0"] * 4000 + ["p1"] * 4000 + ["p2"] * 4000
    assert "logprob" not in drawn
    counts = drawn["response"].value_counts() / 4000
    shares = {"p0-0": 1 / 4, "p0-1": 3 / 4, "p1-0": 1 / 4, "p1-1": 1 / 4, "p1-2": 1 / 2}
    for response, share in (shares | {"p2-0": 0.1, "p2-1": 0.9}).items():
        assert counts[response] == pytest.approx(share, abs=0.03)
    nats = [
        0.25 * log(0.5) + 0.75 * log(1.5),
        0.5 * log(0.75) + 0.5 * log(1.5),
        0.1 * log(0.2) + 0.9 * log(1.8),
    ]
    assert drawn.groupby("prompt_id")["kl"].first().tolist() == pytest.approx(nats)
    levels = np.array([0.75 * log(3), 0.5 * log(2), 0.9 * log(9)])
    assert made.expected["humor"]["level"] == pytest.approx(levels.mean())
    assert made.expected["humor"]["se"] == pytest.approx(levels.std(ddof=1) / np.sqrt(3))


def test_one_prompt_has_a_level_and_no_standard_error() -> None:
    made = best_of(ragged([[0.0, 2.0, 2.0]]), {"humor": 1.0}, seed=1)
    assert made.expected["humor"] == {"level": 2.0, "se": None}
    assert made.frame["kl"].tolist() == pytest.approx([np.log(3) - 2 / 3])
    with pytest.raises(InputError, match="1 of 2 prompts have fewer"):
        best_of(ragged([[0.0, 1.0], [2.0]]), {"humor": 1.0}, seed=1)
    with pytest.raises(InputError, match="0 of 0 prompts"):
        best_of(ragged([[0.0, 1.0]]).assign(split="fit"), {"humor": 1.0}, seed=1)
