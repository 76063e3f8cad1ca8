import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from polyalign.evaluate.length_control import at_equal_length
from polyalign.evaluate.winrate import winrate


def table(rows: list[tuple[str, float, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["prompt_id", "humor", "n_tokens"])
    return frame.assign(split="test", candidate=frame.groupby("prompt_id").cumcount())


def row(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float]:
    return at_equal_length(ours, theirs, ["humor"]).iloc[0].to_dict()


def test_two_lengths_have_a_closed_form() -> None:
    # Longer by 3 in 4 prompts, of which 3 win; shorter by 3 in 8, of which 2 win: the model fits
    # both shares, so a is the mean of their logits: (log 3 - log 3) / 2 = 0.
    wins = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    ours = table([(f"p{i}", win, 8 if i < 4 else 2) for i, win in enumerate(wins)])
    theirs = table([(f"p{i}", 0.5, 5) for i in range(12)])
    assert row(ours, theirs)["even_winrate"] == pytest.approx(0.5)
    plain = winrate(ours, theirs, ["humor"], bootstrap=50, seed=1)["winrate"][0]
    assert plain == pytest.approx(5 / 12)
    # One more of the shorter wins: 3 of 8, logit log(3/5).
    ours.loc[6, "humor"] = 1
    expected = (math.log(3) + math.log(3 / 5)) / 2
    assert row(ours, theirs)["even_winrate"] == pytest.approx(1 / (1 + math.exp(-expected)))


def test_equal_lengths_leave_the_win_rate_and_its_error() -> None:
    draws = np.random.default_rng(1)
    # Prompts with one to five candidates weigh the same.
    prompts = [f"p{i}" for i in range(30) for _ in range(1 + i % 5)]
    ours = table([(prompt, draws.normal(0.3), 7) for prompt in prompts])
    theirs = table([(f"p{i // 2}", draws.normal(), 7) for i in range(60)])
    plain = winrate(ours, theirs, ["humor"], bootstrap=50, seed=1).iloc[0]
    assert plain["even_winrate"] == pytest.approx(plain["winrate"], abs=1e-9)
    assert plain["even_se"] == pytest.approx(plain["se"], rel=1e-6)
    assert plain["even_low"] < plain["even_winrate"] < plain["even_high"]


def test_against_itself_it_is_one_half_and_the_sides_sum_to_one() -> None:
    draws = np.random.default_rng(2)
    one, two = (
        table([(f"p{i // 2}", draws.normal(), int(draws.integers(3, 30))) for i in range(80)])
        for _ in range(2)
    )
    assert row(one, one)["even_winrate"] == pytest.approx(0.5, abs=1e-12)
    there, back = row(one, two), row(two, one)
    assert there["even_winrate"] + back["even_winrate"] == pytest.approx(1.0)
    assert there["even_se"] == pytest.approx(back["even_se"])
    assert there["even_low"] == pytest.approx(1 - back["even_high"])


def simulated(draws: np.random.Generator, prompts: int) -> dict[str, float]:
    """A policy that is only longer: rewards grow with length, and with nothing else."""
    lengths = draws.integers(5, 30, size=(2, prompts, 2))
    lengths[0] += 4
    rewards = 0.15 * lengths + draws.normal(size=lengths.shape)
    sides = [
        table(
            [
                (f"p{i}", rewards[side, i, j], int(lengths[side, i, j]))
                for i in range(prompts)
                for j in range(2)
            ]
        )
        for side in range(2)
    ]
    plain = winrate(*sides, ["humor"], bootstrap=2, seed=1).iloc[0]
    return plain.to_dict()


def test_a_gain_of_length_alone_is_none_at_equal_length() -> None:
    draws = np.random.default_rng(3)
    found = [simulated(draws, 80) for _ in range(60)]
    even = np.array([one["even_winrate"] for one in found])
    assert np.mean([one["winrate"] for one in found]) > 0.6
    assert even.mean() == pytest.approx(0.5, abs=0.015)
    assert np.mean([one["even_se"] for one in found]) == pytest.approx(even.std(), rel=0.3)
    covered = [one["even_low"] <= 0.5 <= one["even_high"] for one in found]
    assert np.mean(covered) >= 0.88


def test_what_has_no_fit_is_nan() -> None:
    ours = table([("p", 1.0, 9), ("q", 0.0, 2)])
    theirs = table([("p", 0.5, 5), ("q", 0.5, 5)])
    assert all(math.isnan(one) for one in row(ours, theirs).values())  # longer always wins
    short, partly = ours.drop(columns="n_tokens"), ours.assign(n_tokens=[9, np.nan])
    for known, unknown in ((theirs, short), (theirs, partly)):
        assert all(math.isnan(one) for one in row(unknown, known).values())
        assert all(math.isnan(one) for one in row(known, unknown).values())


def test_the_fit_and_its_error_are_those_of_a_general_solver() -> None:
    """The variance is N / (N - 1) times the squared influences of the prompts' weights."""
    draws = np.random.default_rng(4)
    number, prompts = 12, [f"p{i}" for i in range(12) for _ in range(1 + i % 3)]
    ours = table([(p, draws.normal(0.4), int(draws.integers(3, 30))) for p in prompts])
    theirs = table([(f"p{i // 2}", draws.normal(), int(draws.integers(3, 25))) for i in range(24)])
    ours.loc[0, "humor"] = theirs.loc[0, "humor"]
    pairs = [
        (a.prompt_id, a.n_tokens - b.n_tokens, (a.humor > b.humor) + 0.5 * (a.humor == b.humor))
        for a in ours.itertuples()
        for b in theirs.itertuples()
        if a.prompt_id == b.prompt_id
    ]
    names, longer, score = (np.array(column) for column in zip(*pairs, strict=True))
    x = np.tanh(longer / np.sqrt(np.mean(longer**2)))

    def fitted(times: np.ndarray) -> float:
        weight = np.array([times[int(name[1:])] / np.sum(names == name) for name in names])

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            logit = theta[0] + theta[1] * x
            left = weight * (1 / (1 + np.exp(-logit)) - score)
            value = weight @ (np.logaddexp(0.0, logit) - score * logit)
            return float(value), np.array([left.sum(), left @ x])

        return float(minimize(loss, [0.0, 0.0], jac=True, method="BFGS", tol=1e-12).x[0])

    centre, step = fitted(np.ones(number)), 1e-3
    units = np.eye(number) * step
    influence = [(fitted(1 + unit) - fitted(1 - unit)) / (2 * step) for unit in units]
    se = math.sqrt(number / (number - 1) * np.square(influence).sum())
    found = row(ours, theirs)
    rate = 1 / (1 + math.exp(-centre))
    assert found["even_winrate"] == pytest.approx(rate, abs=1e-7)
    assert found["even_se"] == pytest.approx(rate * (1 - rate) * se, rel=1e-4)
    for name, end in (("even_low", centre - 1.959964 * se), ("even_high", centre + 1.959964 * se)):
        assert found[name] == pytest.approx(1 / (1 + math.exp(-end)), rel=1e-4)


def test_one_prompt_has_a_rate_and_no_error() -> None:
    ours = table([("p", 1.0, 9), ("p", 0.0, 9), ("p", 0.0, 2), ("p", 1.0, 2), ("p", 1.0, 2)])
    found = row(ours, table([("p", 0.5, 5)]))
    # Longer by 4: half win; shorter by 3: two of three win. tanh of their differences over s.
    s = math.sqrt((2 * 16 + 3 * 9) / 5)
    longer, shorter = math.tanh(4 / s), math.tanh(-3 / s)
    slope = (0.0 - math.log(2)) / (longer - shorter)
    assert found["even_winrate"] == pytest.approx(1 / (1 + math.exp(slope * longer)))
    assert math.isnan(found["even_se"])


def test_two_prompts_have_an_error() -> None:
    # Equal lengths: the rates of the prompts are 1/3 and 1, so their mean 2/3 has the error 1/3.
    ours = table([("p", 1.0, 5), ("p", 0.0, 5), ("p", 0.0, 5), ("q", 1.0, 5)])
    found = row(ours, table([("p", 0.5, 5), ("q", 0.5, 5)]))
    assert found["even_winrate"] == pytest.approx(2 / 3)
    assert found["even_se"] == pytest.approx(1 / 3)


def test_a_steep_but_finite_fit_is_shown() -> None:
    # Of 10 000 longer pairs one loses, of as many shorter ones one wins: logits ± log 9999.
    number = 10_000
    ours = table([(f"p{i}", float(i > 0), 8) for i in range(number)])
    other = table([(f"q{i}", float(i == 0), 2) for i in range(number)])
    theirs = pd.concat([ours, other]).assign(humor=0.5, n_tokens=5)
    found = row(pd.concat([ours, other], ignore_index=True), theirs)
    assert found["even_winrate"] == pytest.approx(0.5, abs=1e-9)
    assert found["even_se"] > 0
