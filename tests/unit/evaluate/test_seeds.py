"""The spread over seeds: variance components against closed forms, simulation and other code."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from polyalign.data.tables import read_table, write_csv
from polyalign.errors import InputError
from polyalign.evaluate.clusters import ratio_mean
from polyalign.evaluate.seeds import Spread, over_seeds, seeds, spread, two_way, with_spread
from polyalign.evaluate.winrate import winrate

GROUPS = {"rloo/a": ["rloo/a", "rloo/a.seed-2", "rloo/a.seed-3"]}
OPPONENT = "base/base"
T1, T2 = 12.706204736, 4.302652730  # Student's 97.5 % quantiles, 1 and 2 degrees of freedom


def drawn(rng: np.random.Generator, prompts: int, count: int, sds: tuple[float, ...]) -> np.ndarray:
    """Numbers (P, S): 1.5 + prompt + seed + rest, normal with these standard deviations."""
    sizes = ((prompts, 1), (1, count), (prompts, count))
    parts = (rng.normal(0.0, sd, size) for sd, size in zip(sds, sizes, strict=True))
    return 1.5 + sum(parts, start=np.zeros((prompts, count)))


def test_a_crossed_layout_by_hand() -> None:
    found = two_way(np.array([[1.0, 2.0], [4.0, 3.0], [7.0, 10.0]]))
    # Means of prompts 1.5, 3.5, 8.5; of seeds 4, 5; of all 4.5. Sums of squares: prompts
    # 2 (9 + 1 + 16) = 52, seeds 3 (0.25 + 0.25) = 1.5, rest 2 (0² + 1² + 1²) = 4.
    a, b, e = 52 / 2, 1.5 / 1, 4 / 2
    assert found["mean"] == 4.5
    assert (found["min"], found["max"]) == (4.0, 5.0)
    assert found["sd"] == pytest.approx(math.sqrt(0.5))
    assert found["se_prompts"] == pytest.approx(math.sqrt(a / 6))
    assert found["se_seeds"] == pytest.approx(math.sqrt(b / 6))
    # The seeds differ by less than the rest explains, so they add nothing, and never less.
    assert b < e
    assert found["sd_training"] == 0.0
    assert found["se"] == pytest.approx(math.sqrt((a + e - e) / 6))
    assert found["high"] - 4.5 == pytest.approx(T2 * math.sqrt(a / 6))


def test_components_add_up_where_seeds_decide() -> None:
    found = two_way(np.array([[1.0, 5.0], [4.0, 6.0], [7.0, 13.0]]))
    # Prompts 3, 5, 10; seeds 4, 8; mean 6. Prompts 2 (9 + 1 + 16) = 52, seeds 3 (4 + 4) = 24, rest
    # 2 (0 + 1 + 1) = 4.
    a, b, e = 52 / 2, 24.0, 4 / 2
    se = math.sqrt((a + b - e) / 6)
    assert found["se"] == pytest.approx(se)
    assert found["se"] ** 2 == pytest.approx(
        found["se_prompts"] ** 2 + found["se_seeds"] ** 2 - e / 6
    )
    assert found["sd_training"] == pytest.approx(math.sqrt((b - e) / 3))
    half = math.sqrt((T2**2 * a + T1**2 * (b - e)) / 6)
    assert found["high"] - 6.0 == pytest.approx(half)
    assert 6.0 - found["low"] == pytest.approx(half)


def test_the_error_over_prompts_is_that_of_the_mean_over_seeds() -> None:
    numbers = drawn(np.random.default_rng(1), 50, 4, (1.0, 0.3, 0.5))
    _, se = ratio_mean(numbers.mean(axis=1)[:, None], np.ones(50))
    assert two_way(numbers)["se_prompts"] == pytest.approx(float(se[0]))


def test_seeds_that_agree_add_nothing() -> None:
    one = np.random.default_rng(2).normal(size=(30, 1))
    found = two_way(np.repeat(one, 3, axis=1))
    assert found["sd"] == pytest.approx(0.0, abs=1e-12)
    assert found["se"] == pytest.approx(float(one.std(ddof=1)) / math.sqrt(30))
    constant = two_way(np.full((5, 2), 0.5))
    assert (constant["se"], constant["low"], constant["high"]) == (0.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("prompts", "count", "sds"), [(60, 3, (1.0, 0.5, 0.7)), (40, 5, (2.0, 0.3, 0.5))]
)
def test_errors_and_intervals_hold_in_simulated_studies(
    prompts: int, count: int, sds: tuple[float, float, float]
) -> None:
    rng, rounds = np.random.default_rng(3), 3000
    found = pd.DataFrame([two_way(drawn(rng, prompts, count, sds)) for _ in range(rounds)])
    of_prompts, of_seeds, rest = (sd**2 for sd in sds)
    variance = of_prompts / prompts + of_seeds / count + rest / (prompts * count)
    # Standard errors of these means over 3000 rounds are below 2.5 %.
    assert (found["se"] ** 2).mean() == pytest.approx(variance, rel=0.08)
    assert found["mean"].var() == pytest.approx(variance, rel=0.08)
    assert (found["sd_training"] ** 2).mean() == pytest.approx(of_seeds, rel=0.08)
    assert (found["sd"] ** 2).mean() == pytest.approx(of_seeds + rest / prompts, rel=0.08)
    covered = ((found["low"] <= 1.5) & (found["high"] >= 1.5)).mean()
    # The standard error of this share is 0.004.
    assert 0.94 < covered < 0.98


def frame(seed: int, *, answers: int = 4, shift: float = 0.0) -> pd.DataFrame:
    """A rewards table of 12 test prompts, and a row that is not judged."""
    rng = np.random.default_rng(seed)
    keys = [(f"p{prompt:02d}", one) for prompt in range(12) for one in range(answers)]
    table = pd.DataFrame(keys, columns=["prompt_id", "candidate"]).assign(split="test")
    table["humor"] = rng.normal(shift, 1.0, len(table))
    table["logprob"] = rng.normal(-9.0, 1.0, len(table))
    table["logprob_base"] = rng.normal(-10.0, 1.0, len(table))
    other = table.head(1).assign(prompt_id="fit", split="fit", humor=1e6)
    return pd.concat([table, other]).sample(frac=1.0, random_state=seed)


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    names = [*GROUPS["rloo/a"], OPPONENT]
    return {name: frame(i, shift=0.1 * i) for i, name in enumerate(names)}


def test_rows_are_levels_win_rates_and_kl(frames: dict[str, pd.DataFrame]) -> None:
    table = seeds(frames, GROUPS, ["humor"], OPPONENT)
    assert table[["family", "variant", "seeds"]].drop_duplicates().to_numpy().tolist() == [
        ["rloo", "a", 3]
    ]
    assert set(table["policies"]) == {"rloo/a rloo/a.seed-2 rloo/a.seed-3"}
    found = table.set_index("number")
    assert list(found.index) == ["level", "winrate", "kl"]
    tests = [frames[name].query("split == 'test'") for name in GROUPS["rloo/a"]]
    rates = [
        winrate(frames[name], frames[OPPONENT], ["humor"], bootstrap=2, seed=1)["winrate"][0]
        for name in GROUPS["rloo/a"]
    ]
    each = {
        "level": [one["humor"].mean() for one in tests],
        "winrate": rates,
        "kl": [(one["logprob"] - one["logprob_base"]).mean() for one in tests],
    }
    for number, by_seed in each.items():
        assert found["mean"][number] == pytest.approx(np.mean(by_seed))
        assert found["sd"][number] == pytest.approx(np.std(by_seed, ddof=1))
        assert found["min"][number] == pytest.approx(min(by_seed))
        assert found["max"][number] == pytest.approx(max(by_seed))


def test_prompts_are_paired_by_their_id(frames: dict[str, pd.DataFrame]) -> None:
    """What the prompts have in common is no spread over seeds, in whatever order they stand."""
    one = frames["rloo/a"]
    same = {"rloo/a": one, "rloo/a.seed-2": one.iloc[::-1], OPPONENT: frames[OPPONENT]}
    table = seeds(same, {"rloo/a": ["rloo/a", "rloo/a.seed-2"]}, ["humor"], OPPONENT)
    assert table["se_prompts"].to_numpy() == pytest.approx(table["se"].to_numpy())


def test_no_win_rates_against_oneself_and_no_kl_without_it(frames: dict[str, pd.DataFrame]) -> None:
    table = seeds(frames, GROUPS, ["humor"], "rloo/a.seed-2")
    assert list(table["number"]) == ["level", "kl"]
    bare = {name: one.drop(columns="logprob_base") for name, one in frames.items()}
    for without in (bare, frames | {"rloo/a.seed-2": bare["rloo/a.seed-2"]}):
        assert list(seeds(without, GROUPS, ["humor"], OPPONENT)["number"]) == ["level", "winrate"]


def test_other_prompts_are_refused(frames: dict[str, pd.DataFrame]) -> None:
    other = frames["rloo/a.seed-2"].query("prompt_id != 'p03'")
    with pytest.raises(
        InputError, match=r"rloo/a\.seed-2 are not those of rloo/a, e\.g\. prompt_id p"
    ):
        seeds(frames | {"rloo/a.seed-2": other}, GROUPS, ["humor"], OPPONENT)


def test_one_prompt_has_a_spread_but_no_error() -> None:
    found = two_way(np.array([[1.0, 2.0, 6.0]]))
    assert (found["mean"], found["min"], found["max"]) == (3.0, 1.0, 6.0)
    assert found["sd"] == pytest.approx(math.sqrt(7.0))
    assert all(math.isnan(found[name]) for name in ("se", "se_prompts", "low", "sd_training"))


def test_every_row_of_the_summary_has_the_spread_of_its_group(
    frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    table = seeds(frames, GROUPS, ["humor"], OPPONENT)
    write_csv(table, tmp_path / "seeds.csv")
    found = spread(read_table(tmp_path / "seeds.csv"))
    assert set(found) == set(GROUPS["rloo/a"])
    sd = table.set_index("number")["sd"]
    rows: list[dict[str, Any]] = [
        {"family": "base", "variant": "base"},
        {"family": "rloo", "variant": "a.seed-3"},
    ]
    base, own = with_spread(pd.DataFrame(rows), found).to_dict("records")
    assert own["seeds"] == 3
    assert own["kl_seeds_sd"] == pytest.approx(sd["kl"])
    assert own["humor_level_seeds_sd"] == pytest.approx(sd["level"])
    assert own["humor_winrate_seeds_sd"] == pytest.approx(sd["winrate"])
    # Without lengths there is no win rate at equal length.
    assert math.isnan(own["humor_even_winrate_seeds_sd"])
    assert base["seeds"] == 1
    assert all(math.isnan(base[name]) for name in base if name.endswith("_sd"))


def test_a_summary_without_several_seeds_stays_as_it_is() -> None:
    summary = pd.DataFrame([{"family": "base", "variant": "base"}])
    assert with_spread(summary, {}) is summary
    assert Spread(1, math.nan, {}, {}, {}).winrate == {}


def with_lengths(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables with lengths, which rewards go with."""
    rng = np.random.default_rng(5)
    return {
        name: table.assign(
            n_tokens=np.round(10 + 2 * table["humor"] + rng.normal(0, 2, len(table)))
        )
        for name, table in frames.items()
    }


def test_win_rates_at_equal_length_have_a_spread_too(frames: dict[str, pd.DataFrame]) -> None:
    """Mean and spread are those of the rates of each seed; of one seed, its standard error."""
    known = with_lengths(frames)
    table = seeds(known, GROUPS, ["humor"], OPPONENT)
    assert list(table["number"]) == ["level", "winrate", "even_winrate", "kl"]
    found = table.set_index("number").loc["even_winrate"]
    each = [
        winrate(known[name], known[OPPONENT], ["humor"], bootstrap=2, seed=1)
        for name in GROUPS["rloo/a"]
    ]
    rates = [float(one["even_winrate"][0]) for one in each]
    assert found["mean"] == pytest.approx(np.mean(rates))
    assert found["sd"] == pytest.approx(np.std(rates, ddof=1))
    assert abs(rates[0] - float(each[0]["winrate"][0])) > 0.01
    same = {"rloo/a": known["rloo/a"], "rloo/a.seed-2": known["rloo/a"].iloc[::-1],
            OPPONENT: known[OPPONENT]}  # fmt: skip
    alike = seeds(same, {"rloo/a": ["rloo/a", "rloo/a.seed-2"]}, ["humor"], OPPONENT)
    one = alike.set_index("number").loc["even_winrate"]
    assert one["se"] == pytest.approx(float(each[0]["even_se"][0]))
    assert one["sd"] == pytest.approx(0.0, abs=1e-12)
    assert spread(table)["rloo/a.seed-3"].even_winrate == {"humor": pytest.approx(found["sd"])}


def test_figures_see_one_policy_for_all_seeds(
    frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    apart = frames["rloo/a.seed-2"].assign(humor=lambda table: table["humor"] + 2)
    frames = {**frames, "rloo/a.seed-2": apart}
    write_csv(seeds(frames, GROUPS, ["humor"], OPPONENT), tmp_path / "seeds.csv")
    table = read_table(tmp_path / "seeds.csv")
    columns = {"mean": 0.0, "se": 0.0, "low": 0.0, "high": 0.0, "kl": 0.0, "kl_se": 0.0, "sd": 1.5}
    alone = pd.DataFrame(columns, index=pd.Index(["humor"], name="value"))
    found = over_seeds(dict.fromkeys(frames, alone), table)
    assert list(found) == ["rloo/a", OPPONENT]
    row, known = found["rloo/a"].loc["humor"], table.set_index("number")
    for name in ("mean", "se", "low", "high"):
        assert row[name] == pytest.approx(known[name]["level"])
    assert (row["kl"], row["kl_se"]) == pytest.approx((known["mean"]["kl"], known["se"]["kl"]))
    assert row["sd"] == 1.5
    assert found[OPPONENT] is alone
    assert (alone["mean"] == 0).all()
