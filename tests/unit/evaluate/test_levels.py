from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polyalign.data.rewards_table import read_rewards
from polyalign.errors import InputError
from polyalign.evaluate.levels import levels

REFERENCE = Path(__file__).parents[4] / "shared/reference/llama2_chat-Anthropic-harmless.json"
OPTIONS = {"bootstrap": 100, "seed": 1}


def table(**columns: list) -> pd.DataFrame:
    """Three test rows of two prompts, and a fit row that nothing may look at."""
    frame = pd.DataFrame(
        {
            "prompt_id": ["a", "b", "a", "z"],
            "candidate": [0, 0, 1, 0],
            "response": ["one", " ", "two words", ""],
            "split": ["test", "test", "test", "fit"],
            "n_tokens": [4, 1, 7, 99],
            "humor": [1.0, 5.0, 3.0, 1000.0],
        }
    )
    return frame.assign(**columns)


def test_a_small_table_by_hand() -> None:
    base = table(humor=[3.0, 2.0, 4.0, 1000.0])
    (row,) = levels(table(), ["humor"], base, max_new_tokens=7, **OPTIONS).to_dict("records")
    assert row["mean"] == pytest.approx(3.0)
    assert row["se"] == pytest.approx(4 / 3)
    assert (row["low"], row["high"]) == (2.0, 5.0)
    assert (row["q50"], row["q90"]) == (3.0, pytest.approx(4.6))
    assert row["base_quantile"] == pytest.approx(0.5)  # 2 below, 3 tied, 4 above
    assert row["n_tokens"] == 4.0
    assert row["empty"] == pytest.approx(1 / 3)
    assert row["truncated"] == pytest.approx(1 / 3)
    assert (row["n_prompts"], row["n_samples"]) == (2, 3)
    assert np.isnan(row["kl"])


def test_what_a_selection_gives_in_expectation_stands_beside_its_draws() -> None:
    frame = table(helpful=[0.0, 1.0, 2.0, 3.0])
    expected = {"humor": {"level": 2.5, "se": 0.25}, "helpful": {"level": 1.5, "se": None}}
    made = levels(frame, ["humor", "helpful"], frame, expected=expected, **OPTIONS)
    assert made["expected"].tolist() == [2.5, 1.5]
    assert made["expected_se"][0] == 0.25
    assert np.isnan(made["expected_se"][1])
    (row,) = levels(frame, ["humor"], frame, **OPTIONS).to_dict("records")
    assert np.isnan([row["expected"], row["expected_se"]]).all()


def test_the_column_truncated_counts_where_there_is_one() -> None:
    # The response of 7 tokens ended by itself, the one of 4 by the limit of another run.
    frame = table(truncated=[True, False, False, True])
    (row,) = levels(frame, ["humor"], frame, max_new_tokens=7, **OPTIONS).to_dict("records")
    assert row["truncated"] == pytest.approx(1 / 3)
    frame = table(truncated=[True, True, False, False])
    (row,) = levels(frame, ["humor"], frame, max_new_tokens=7, **OPTIONS).to_dict("records")
    assert row["truncated"] == pytest.approx(2 / 3)


def test_kl_is_the_mean_log_ratio() -> None:
    frame = table(logprob=[-1.0, -2.0, -3.0, 0.0], logprob_base=[-2.0, -2.0, -3.5, 9.0])
    (row,) = levels(frame, ["humor"], frame, **OPTIONS).to_dict("records")
    # Log ratios 1, ½ of prompt a and 0 of prompt b: R = ½, residuals ½ and -½.
    assert row["kl"] == pytest.approx(0.5)
    assert row["kl_se"] == pytest.approx(np.sqrt(2 * 0.5) / 3)


def test_kl_of_a_selection_is_taken_as_it_stands() -> None:
    frame = table(kl=[0.2, 0.8, 0.2, 9.0])
    (row,) = levels(frame, ["humor"], frame, **OPTIONS).to_dict("records")
    assert (row["kl"], row["kl_kind"]) == (pytest.approx(0.4), "choice")


def test_kl_of_samples_is_that_of_their_next_tokens_where_it_is_known() -> None:
    frame = table(kl=[0.2, 0.8, 0.4, 9.0], logprob=[0.0] * 4, logprob_base=[5.0] * 4)
    (row,) = levels(frame, ["humor"], frame, **OPTIONS).to_dict("records")
    assert (row["kl"], row["kl_kind"]) == (pytest.approx(1.4 / 3), "samples")
    frame = frame.drop(columns="kl")
    (row,) = levels(frame, ["humor"], frame, **OPTIONS).to_dict("records")
    assert (row["kl"], row["kl_kind"]) == (pytest.approx(-5.0), "samples")


def test_what_a_table_of_scores_cannot_tell_is_nan() -> None:
    frame = table().drop(columns=["n_tokens", "response"])
    (row,) = levels(frame, ["humor"], frame, max_new_tokens=5, **OPTIONS).to_dict("records")
    for name in ("kl", "kl_se", "n_tokens", "truncated", "empty"):
        assert np.isnan(row[name])


def test_a_value_a_row_in_the_order_asked() -> None:
    frame = table(helpful=[0.0, 1.0, 0.0, 0.0])
    result = levels(frame, ["helpful", "humor"], frame, **OPTIONS)
    assert result["value"].tolist() == ["helpful", "humor"]
    assert result["mean"].tolist() == pytest.approx([1 / 3, 3.0])


def test_the_order_of_the_rows_changes_nothing() -> None:
    frame = table()
    shuffled = frame.iloc[[2, 3, 1, 0]].reset_index(drop=True)
    columns = ["mean", "se", "q50", "base_quantile"]
    straight = levels(frame, ["humor"], frame, **OPTIONS)[columns]
    pd.testing.assert_frame_equal(straight, levels(shuffled, ["humor"], frame, **OPTIONS)[columns])


@pytest.mark.parametrize(
    ("policy", "base", "fault"),
    [
        (table(), table().drop(columns="humor"), "the base model's rewards table has no column"),
        (table().drop(columns="humor"), table(), "the policy's rewards table has no column"),
        (table(split=["fit"] * 4), table(), "no row of the split 'test'"),
    ],
)
def test_bad_tables_are_refused(policy: pd.DataFrame, base: pd.DataFrame, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        levels(policy, ["humor"], base, **OPTIONS)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference data is not beside the checkout")
def test_published_base_levels() -> None:
    frame = read_rewards(REFERENCE).assign(split="test")
    known = {
        "humor": 0.604,
        "gpt2-helpful": -1.011,
        "gpt2-harmless": 1.248,
        "diversity": 0.848,
        "coherence": 0.521,
        "perplexity": -1.375,
    }
    result = levels(frame, list(known), frame, **OPTIONS).set_index("value")
    assert result["mean"].round(3).to_dict() == known
    assert result["q80"][["humor", "gpt2-helpful", "gpt2-harmless"]].round(3).tolist() == [
        2.363,
        -0.108,
        2.164,
    ]
    for value, quantile in result["base_quantile"].items():
        assert np.quantile(frame[value], quantile) == pytest.approx(known[value], abs=2e-3)
    assert result["n_samples"].unique() == [2312]


def test_every_quantile_has_its_column() -> None:
    frame = pd.DataFrame(
        {
            "prompt_id": [f"p{i}" for i in range(101)],
            "candidate": 0,
            "split": "test",
            "humor": np.arange(101.0)[::-1],
        }
    )
    (row,) = levels(frame, ["humor"], frame, **OPTIONS).to_dict("records")
    shown = {name: row[name] for name in row if name[0] == "q"}
    assert shown == {f"q{percent}": percent for percent in (50, 60, 70, 80, 90, 99)}
    assert row["base_quantile"] == pytest.approx(0.5)
    assert row["n_prompts"] == row["n_samples"] == 101


def test_only_the_limit_itself_truncates_where_no_column_says_so() -> None:
    for limit, share in ((8, 0.0), (7, 1 / 3), (4, 2 / 3)):
        frame = table()
        (row,) = levels(frame, ["humor"], frame, max_new_tokens=limit, **OPTIONS).to_dict("records")
        assert row["truncated"] == pytest.approx(share)
    partly = table(n_tokens=[4, np.nan, 7, 99])
    (row,) = levels(partly, ["humor"], partly, max_new_tokens=7, **OPTIONS).to_dict("records")
    assert np.isnan([row["truncated"], row["n_tokens"]]).all()
