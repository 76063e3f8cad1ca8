"""Sweeps of random palettes, of duals and of palettes' levels, against independent ways."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog
from test_sweeps import VALUES, expected_levels, pool

from polyalign.errors import InputError
from polyalign.palettes.solve import solve_palette
from polyalign.palettes.sweeps import by_number, duals, palette_levels

DRAWN = {"values": VALUES, "scope": "joint", "draws": 24, "adjusted": 8, "limits": {}, "seed": 3}


@pytest.fixture(scope="module")
def drawn() -> pd.DataFrame:
    return by_number.compute(pool(), {}, **DRAWN)


def fitted(values: list[str]) -> np.ndarray:
    frame = pool()
    return frame.loc[frame["split"] == "fit", values].to_numpy()


def reachable(rewards: np.ndarray, level: np.ndarray) -> bool:
    """Whether some weights on the rows give at least `level`: the plain linear programme."""
    n = len(rewards)
    done = linprog(np.zeros(n), -rewards.T, -level, np.ones((1, n)), [1.0], bounds=(0, None))
    return bool(done.status == 0)


def solved(names: dict[str, dict[str, str]], scope: str = "prompt") -> dict[str, dict]:  # type: ignore[type-arg]
    found = {
        name: solve_palette(pool(), name, levels, scope=scope) for name, levels in names.items()
    }
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def test_random_palettes_lie_between_base_and_maximum(drawn: pd.DataFrame) -> None:
    assert drawn.groupby("n_values").size().to_dict() == {1: 24, 2: 24, 3: 24}
    rewards = fitted(VALUES)
    asked = drawn[[f"{value}_asked" for value in VALUES]].to_numpy()
    assert np.isnan(asked).sum(axis=1).tolist() == (3 - drawn["n_values"]).tolist()
    assert (np.nan_to_num(asked, nan=np.inf) >= rewards.mean(axis=0)).all()
    assert (np.nan_to_num(asked, nan=-np.inf) <= rewards.max(axis=0)).all()
    # Another number of values is another draw.
    firsts = drawn.groupby("n_values")["humor_asked"].first()
    assert firsts.nunique() == 3


def test_random_palettes_are_feasible_where_the_plain_programme_says_so(
    drawn: pd.DataFrame,
) -> None:
    assert drawn.loc[drawn["n_values"] == 1, "feasible"].all()
    assert 0 < drawn["feasible"].mean() < 1
    for _, row in drawn.iloc[::5].iterrows():
        names = VALUES[: row["n_values"]]
        asked = row[[f"{value}_asked" for value in names]].to_numpy(dtype=float)
        assert reachable(fitted(names), asked) == row["feasible"]


def test_random_palettes_get_the_lambda_that_gives_what_they_ask(drawn: pd.DataFrame) -> None:
    for _, row in drawn[drawn["feasible"]].iloc[::4].iterrows():
        names = VALUES[: row["n_values"]]
        lam = row[[f"{value}_lam" for value in names]].to_numpy(dtype=float)
        rewards = fitted(names)
        weight = np.exp(rewards @ lam - (rewards @ lam).max())
        levels = weight @ rewards / weight.sum()
        asked = row[[f"{value}_asked" for value in names]].to_numpy(dtype=float)
        spread = rewards.std(axis=0)
        assert ((asked - levels) / spread).max() < 1e-6
        assert np.abs(lam * (levels - asked)).max() < 1e-6  # λ > 0 only where the level is reached
        weights = row[[f"{value}_weight" for value in names]].to_numpy(dtype=float)
        assert weights == pytest.approx(lam * spread)
    infeasible = drawn[~drawn["feasible"]]
    assert infeasible[[f"{value}_lam" for value in VALUES]].isna().all(axis=None)


def test_infeasible_palettes_are_adjusted_to_the_edge(drawn: pd.DataFrame) -> None:
    measured = drawn[drawn["draw"] < 8]
    assert drawn.loc[drawn["draw"] >= 8, "edge"].isna().all()
    feasible = measured["feasible"].to_numpy()
    assert (measured.loc[feasible, ["edge", "reached"]] == 1).all(axis=None)
    moved = measured[~feasible]
    assert (moved["reached"] < moved["edge"]).all()
    assert (moved["edge"] < 1).all()
    assert (measured["solve_ms"] > 0).all()
    assert (moved["adjust_ms"] > 0).all()
    for _, row in moved.iloc[:4].iterrows():
        names = VALUES[: row["n_values"]]
        rewards = fitted(names)
        base = rewards.mean(axis=0)
        way = row[[f"{value}_asked" for value in names]].to_numpy(dtype=float) - base
        assert reachable(rewards, base + 0.999 * row["edge"] * way)
        assert not reachable(rewards, base + 1.001 * row["edge"] * way)


def test_more_draws_leave_the_first_ones_but_for_their_times() -> None:
    more = by_number.compute(pool(), {}, **{**DRAWN, "draws": 8, "adjusted": 2})
    # (count, number) draws fill row by row.
    whole = by_number.compute(pool(), {}, **{**DRAWN, "adjusted": 2})
    kept = whole[whole["draw"] < 8].reset_index(drop=True)
    times = ["solve_ms", "adjust_ms"]
    pd.testing.assert_frame_equal(more.drop(columns=times), kept.drop(columns=times))


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_the_dual_is_its_formula_and_highest_at_the_solution(scope: str) -> None:
    asked = {
        "one": {"humor": "q65"},
        "two": {"humor": "q65", "helpful": "q60", "harmless": "mean"},
        "free": {"harmless": "mean"},
    }
    records = solved(asked, scope)
    table = duals.compute(pool(), records, steps=6)
    assert set(table["palette"]) == {"one", "two"}  # λ of the third is 0
    one, two = (table[table["palette"] == name] for name in ("one", "two"))
    assert (len(one), len(two)) == (7, 49)
    assert (one["up"] == "").all()
    lam = dict(zip(records["two"]["values"], records["two"]["lam"], strict=True))
    target = np.array(records["two"]["target"])
    fit = pool().query("split == 'fit'")
    row = two.iloc[17]
    at = np.array([{row["across"]: row["across_lam"], row["up"]: row["up_lam"]}.get(v, lam[v])
                   for v in VALUES])  # fmt: skip
    logits = pd.Series(fit[VALUES].to_numpy() @ at, index=fit["prompt_id"].to_numpy())
    means = (
        np.exp(logits).groupby(level=0).mean()
        if scope == "prompt"
        else pd.Series([np.exp(logits).mean()])
    )
    assert row["dual"] == pytest.approx(target @ at - np.log(means).mean(), abs=1e-9)
    for part, name in ((one, "one"), (two, "two")):
        assert part["best"].iloc[0] == pytest.approx(records[name]["dual"], abs=1e-9)
        assert part["dual"].max() == pytest.approx(part["best"].iloc[0], abs=1e-9)
        top = part.loc[part["dual"].idxmax()]
        assert top["across_lam"] == pytest.approx(part["across_lam"].max() / 2)
        # At λ = 0 of all values nothing is gained.
    assert one.loc[one["across_lam"] == 0, "dual"].iloc[0] == pytest.approx(0, abs=1e-12)


def test_levels_of_palettes_as_quantiles_of_the_base_model() -> None:
    records = solved({"one": {"humor": "q65"}, "two": {"humor": "q60", "helpful": "q60"}})
    records["none"] = {**records["one"], "status": "infeasible"}
    frame = pool()
    table = palette_levels.compute(frame, records, values=VALUES, scope="prompt")
    assert list(dict.fromkeys(table["palette"])) == ["", "one", "two"]
    test = frame[frame["split"] == "test"]
    for name in ("", "one", "two"):
        part = table[table["palette"] == name].set_index("value")
        weighed = (
            dict(zip(records[name]["values"], records[name]["lam"], strict=True)) if name else {}
        )
        levels, _ = expected_levels(frame, np.array([weighed.get(v, 0.0) for v in VALUES]))
        assert part["level"].tolist() == pytest.approx(levels.tolist())
        shares = [(test[v] <= part.loc[v, "level"]).mean() for v in VALUES]
        assert part["quantile"].tolist() == pytest.approx(shares)
        assert part["asked"].notna().tolist() == [v in weighed for v in VALUES]


def test_a_level_asked_as_a_quantile_counts_the_rewards_that_equal_it() -> None:
    """30 % of the rewards are 0.7, which is q60: the solution has that level but for rounding."""
    frame = pool().assign(split="fit")
    place = np.arange(len(frame)) % 10
    frame["humor"] = np.where(place < 4, 0.0, np.where(place < 7, 0.7, 1.4))
    record = solve_palette(frame, "equal", {"humor": "max(q60, mean)"}, scope="joint")
    assert record["asked"] == [0.7]
    assert record["lam"][0] > 0
    for shift in (0.0, -1e-13):
        moved = {**json.loads(json.dumps(record)), "lam": [record["lam"][0] + shift]}
        table = palette_levels.compute(frame, {"equal": moved}, values=["humor"], scope="joint")
        assert table["quantile"].tolist() == pytest.approx([0.4, 0.7])


@pytest.mark.parametrize(("module", "settings", "fault"), [
    (duals, {"steps": 3}, "no palette with a λ above 0"),
    (palette_levels, {"values": VALUES, "scope": "joint"}, "need a palette with a solution"),
])  # fmt: skip
def test_palettes_without_a_solution_are_refused(module, settings, fault) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=fault):
        module.compute(pool(), {"none": {"status": "infeasible"}}, **settings)
