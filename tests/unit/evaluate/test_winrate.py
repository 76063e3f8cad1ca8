import numpy as np
import pandas as pd
import pytest

from polyalign.data.keys import CHANCE
from polyalign.errors import InputError
from polyalign.evaluate.winrate import wilson, winrate

OPTIONS = {"bootstrap": 200, "seed": 1}


def table(rewards: dict[str, list[float]], split: str = "test") -> pd.DataFrame:
    rows = [
        (prompt, candidate, split, reward)
        for prompt, list_ in rewards.items()
        for candidate, reward in enumerate(list_)
    ]
    return pd.DataFrame(rows, columns=["prompt_id", "candidate", "split", "humor"])


def random_table(seed: int, prompts: int = 40) -> pd.DataFrame:
    """Between 1 and 5 candidates per prompt, rewards from few numbers, so that many tie."""
    generator = np.random.default_rng(seed)
    return table(
        {
            f"p{i}": generator.integers(0, 4, size=generator.integers(1, 6)).tolist()
            for i in range(prompts)
        }
    )


def test_a_small_table_by_hand() -> None:
    ours = table({"p": [1.0, 2.0], "q": [5.0]})
    theirs = table({"q": [4.0, 5.0, 6.0], "p": [1.0, 3.0]})
    (row,) = winrate(ours, theirs, ["humor"], **OPTIONS).to_dict("records")
    # p: 1-1 ties, 1-3 loses, 2-1 wins, 2-3 loses: 1.5 of 4. q: win, tie, loss: 1.5 of 3.
    assert row["winrate"] == pytest.approx((0.375 + 0.5) / 2)
    assert row["se"] == pytest.approx(0.0625)
    assert row["ties"] == pytest.approx((1 / 4 + 1 / 3) / 2)
    assert (row["low"], row["high"]) == (0.375, 0.5)
    assert (row["n_prompts"], row["n_pairs"]) == (2, 7)


def test_many_random_pairs_by_brute_force() -> None:
    ours, theirs = random_table(1), random_table(2)
    shares = []
    for prompt, rows in ours.groupby("prompt_id"):
        against = theirs.loc[theirs["prompt_id"] == prompt, "humor"]
        pairs = [(a > b) + 0.5 * (a == b) for a in rows["humor"] for b in against]
        shares.append(np.mean(pairs))
    (row,) = winrate(ours, theirs, ["humor"], **OPTIONS).to_dict("records")
    assert row["winrate"] == pytest.approx(np.mean(shares), abs=1e-14)
    assert row["se"] == pytest.approx(np.std(shares, ddof=1) / np.sqrt(len(shares)))


def test_candidates_with_chances_give_the_exact_expectation_by_brute_force() -> None:
    ours, theirs = random_table(1), random_table(2)
    draws = np.random.default_rng(9)
    for frame in (ours, theirs):
        frame["n_tokens"] = 7
        frame[CHANCE] = draws.random(len(frame))
        frame[CHANCE] /= frame.groupby("prompt_id")[CHANCE].transform("sum")
    for known in (theirs, theirs.drop(columns=CHANCE)):
        shares, ties = [], []
        for prompt, rows in ours.groupby("prompt_id"):
            against = known[known["prompt_id"] == prompt]
            chance = against[CHANCE] if CHANCE in against else [1 / len(against)] * len(against)
            pairs = [
                (p * q, a, b)
                for a, p in zip(rows["humor"], rows[CHANCE], strict=True)
                for b, q in zip(against["humor"], chance, strict=True)
            ]
            shares.append(sum(weight * ((a > b) + 0.5 * (a == b)) for weight, a, b in pairs))
            ties.append(sum(weight * (a == b) for weight, a, b in pairs))
        (row,) = winrate(ours, known, ["humor"], **OPTIONS).to_dict("records")
        assert row["winrate"] == pytest.approx(np.mean(shares), abs=1e-12)
        assert row["se"] == pytest.approx(np.std(shares, ddof=1) / np.sqrt(len(shares)))
        assert row["ties"] == pytest.approx(np.mean(ties))
        # With lengths that are equal throughout, the win rate at equal length is the same.
        assert bool(row["exact"])
        longer = known.assign(n_tokens=7)
        (even,) = winrate(ours, longer, ["humor"], **OPTIONS).to_dict("records")
        assert even["even_winrate"] == pytest.approx(np.mean(shares), abs=1e-8)
        assert even["even_se"] == pytest.approx(row["se"], rel=1e-6)


def test_equal_chances_are_plain_answers() -> None:
    ours, theirs = random_table(1), random_table(2)
    same = ours.assign(**{CHANCE: 1 / ours.groupby("prompt_id")["humor"].transform("size")})
    one, other = (winrate(frame, theirs, ["humor"], **OPTIONS) for frame in (ours, same))
    assert not one["exact"].any()
    pd.testing.assert_frame_equal(one.drop(columns="exact"), other.drop(columns="exact"))


def test_against_itself_it_is_one_half_exactly() -> None:
    frame = random_table(3, prompts=37)
    frame["humor"] += np.random.default_rng(4).normal(size=len(frame))
    (row,) = winrate(frame, frame, ["humor"], **OPTIONS).to_dict("records")
    assert (row["winrate"], row["low"], row["high"], row["se"]) == (0.5, 0.5, 0.5, 0.0)


def test_the_two_sides_sum_to_one() -> None:
    ours, theirs = random_table(5), random_table(6)
    there, back = (
        winrate(a, b, ["humor"], **OPTIONS)["winrate"][0]
        for a, b in ((ours, theirs), (theirs, ours))
    )
    assert there + back == pytest.approx(1.0)
    assert there != 0.5


def test_only_test_rows_and_only_order_count() -> None:
    ours, theirs = random_table(7), random_table(8)
    plain = winrate(ours, theirs, ["humor"], **OPTIONS)
    mixed = pd.concat([table({"x": [9.0, 9.0]}, "fit"), ours.iloc[::-1]], ignore_index=True)
    pd.testing.assert_frame_equal(plain, winrate(mixed, theirs, ["humor"], **OPTIONS))
    squashed = [frame.assign(humor=np.tanh(frame["humor"])) for frame in (ours, theirs)]
    pd.testing.assert_frame_equal(plain, winrate(*squashed, ["humor"], **OPTIONS))


def test_interval_is_about_two_standard_errors() -> None:
    ours, theirs = random_table(9, prompts=400), random_table(10, prompts=400)
    (row,) = winrate(ours, theirs, ["humor"], bootstrap=2000, seed=1).to_dict("records")
    half = (row["high"] - row["low"]) / 2
    assert half == pytest.approx(1.96 * row["se"], rel=0.1)
    assert row["low"] < row["winrate"] < row["high"]
    assert row["wilson_high"] - row["wilson_low"] > row["high"] - row["low"]


def test_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(11)
    covered = 0
    prompts = [f"p{i}" for i in range(60)]
    for trial in range(200):
        # The prompt shifts our reward against theirs: the truth is ½, prompts scatter around it.
        shift = generator.normal(size=60)
        noise = generator.normal(size=(60, 3)) + shift[:, None]
        ours = table(dict(zip(prompts, noise.tolist(), strict=True)))
        theirs = table({p: generator.normal(size=4).tolist() for p in prompts})
        (row,) = winrate(ours, theirs, ["humor"], bootstrap=300, seed=trial).to_dict("records")
        covered += row["low"] <= 0.5 <= row["high"]
    assert 0.90 <= covered / 200 <= 0.985


def test_wilson_by_the_book() -> None:
    # 5 of 10: centre ½ and half width z/(1 + z²/10) · √(0.025 + z²/400).
    low, high = wilson(np.array([0.5, 0.0]), 10)
    assert low.tolist() == pytest.approx([0.236593, 0.0], abs=1e-6)
    assert high.tolist() == pytest.approx([0.763407, 0.277533], abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs", "fault"),
    [
        (["p", "new"], ["p"], r"1 test prompts are not in the base model's .* prompt_id new;"),
        (["p"], ["p", "q", "r"], r"2 test prompts are not in the policy's .* prompt_id q, r;"),
        (list("pabcde"), ["p"], "prompt_id a, b, c, d, e;"),
        (list("pabcdef"), ["p"], "prompt_id a, b, c, d, e, …;"),
    ],
)
def test_other_prompts_are_refused_by_name(ours: list[str], theirs: list[str], fault: str) -> None:
    tables = [table({prompt: [1.0] for prompt in prompts}) for prompts in (ours, theirs)]
    with pytest.raises(InputError, match=fault):
        winrate(*tables, ["humor"], **OPTIONS)


def test_a_missing_value_is_refused() -> None:
    with pytest.raises(InputError, match="the policy's rewards table has no column for 'wit'"):
        winrate(table({"p": [1.0]}), table({"p": [1.0]}), ["wit"], **OPTIONS)
