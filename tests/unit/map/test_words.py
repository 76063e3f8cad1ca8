"""Ceilings, bands, shares, groups and budgets against linear programmes that know none of them."""

import numpy as np
import pytest
from scipy.optimize import linprog

from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.diagnostics import bootstrap_interval, delta_interval
from polyalign.map.dual import policy_weights, solve_on
from polyalign.map.feasibility import furthest_of_value
from polyalign.map.limit import solve_limit
from polyalign.map.problem import pose
from polyalign.map.search import highest_levels
from polyalign.map.words import Row, check_word, column_of, rows_of, weights_of

PROBLEMS = 1000
WORDS = ("floor", "ceiling", "band", "share", "share below", "group", "maximise")


def test_a_palette_becomes_rows():
    levels = {"a": "q70", "b": "<= mean", "c": "between -1 and +10%", "d": ">= 2", "e": 0.5}
    assert rows_of(levels) == [
        Row("a", "a", 1, "q70"),
        Row("b <=", "b", -1, "mean"),
        Row("c >=", "c", 1, "-1"),
        Row("c <=", "c", -1, "+10%"),
        Row("d", "d", 1, "2"),
        Row("e", "e", 1, 0.5),
    ]
    assert rows_of({"a": "maximise within 0.5 nats"}) == [Row("a", "a", 1, 0.0, 0.5)]
    names = [row.name for row in rows_of(levels)]
    assert weights_of(names, [1, -2, 0, -3, 0, 4]) == {
        "a": 1, "b": -2, "c": -3, "d": 0, "e": 4
    }  # fmt: skip


def test_keys_are_values_shares_and_groups():
    assert column_of("a") == ("a", None, None)
    assert column_of("share(clean > 0)") == ("clean", (">", 0.0), None)
    assert column_of("share(my value<=-.5)[topic=be kind]") == (
        "my value", ("<=", -0.5), ("topic", "be kind")
    )  # fmt: skip
    assert column_of("a[topic=x]") == ("a", None, ("topic", "x"))


@pytest.mark.parametrize(
    "word",
    ["<= q0.7", "between q80 and q20", "between 1", "maximise", "maximise within 0 nats", "<="],
)
def test_what_is_no_word_is_refused(word):
    with pytest.raises(InputError, match=r"expected|not understood"):
        check_word(word)


def test_at_most_one_value_is_maximised():
    word = "maximise within 1 nats"
    with pytest.raises(InputError, match="a and b are to be maximised"):
        rows_of({"a": word, "b": word})


class Drawn:
    """A small random table with a palette, and the same as rows of a programme over the samples.

    The programme's own rows are `matrix @ p >= bound`, p (n,) being the probabilities of all
    samples; `equal @ p == total` says what p sums to.
    """

    def __init__(self, seed: int) -> None:
        draws = np.random.default_rng(seed)
        self.scope = ["prompt", "joint"][seed % 2]
        prompts = int(draws.integers(2, 6))
        self.groups = np.repeat(np.arange(prompts), draws.integers(2, 7, prompts))
        n = self.groups.size
        self.table = {
            name: draws.normal(size=n) * 10.0 ** draws.integers(-1, 3) + draws.normal(scale=5)
            for name in "abcd"
        }
        self.table["topic"] = np.where(self.groups % 2 == 0, "even", "odd")
        if self.scope == "prompt":
            self.equal = (self.groups == np.arange(prompts)[:, None]).astype(float)
            self.total = np.full(prompts, 1 / prompts)
            self.p0 = self.total[self.groups] / np.bincount(self.groups)[self.groups]
        else:
            self.equal, self.total = np.ones((1, n)), np.ones(1)
            self.p0 = np.full(n, 1 / n)
        self.levels, matrix, bound = {}, [], []
        self.budget, self.raised = None, None
        chances = [0.2, 0.2, 0.2, 0.1, 0.1, 0.15, 0.05]
        for name, word in zip("abcd", draws.choice(WORDS, 4, p=chances), strict=True):
            if word == "maximise" and self.budget is not None:
                continue
            for row, level in self._ask(draws, name, str(word)):
                matrix.append(row)
                bound.append(level)
        self.matrix, self.bound = np.array(matrix).reshape(-1, n), np.array(bound)

    def _ask(self, draws, name, word):
        r, p0 = self.table[name], self.p0
        mean = float(p0 @ r)
        sd = float(np.sqrt(p0 @ (r - mean) ** 2))
        low, high = (mean + sd * np.sort(draws.uniform(-0.6, 0.6, 2))).tolist()
        if word == "floor":
            self.levels[name] = high
            return [(r, high)]
        if word == "ceiling":
            self.levels[name] = f"<= {low!r}"
            return [(-r, -low)]
        if word == "band":
            self.levels[name] = f"between {low!r} and {high!r}"
            return [(r, low), (-r, -high)]
        if word == "maximise":
            self.budget, self.raised = float(draws.uniform(0.05, 0.3)), r
            self.levels[name] = f"maximise within {self.budget!r} nats"
            return []
        if word == "group":
            inside = self.table["topic"] == "odd"
            self.levels[f"{name}[topic=odd]"] = f"<= {low!r}"
            return [(np.where(inside, low - r, 0.0), 0.0)]
        share = float(draws.uniform(0.3, 0.8))
        if word == "share":
            self.levels[f"share({name} > {mean!r})"] = share
            return [((r > mean).astype(float), share)]
        self.levels[f"share({name} <= {mean!r})"] = f"<= {share!r}"
        return [(-(r <= mean).astype(float), -share)]

    def programme(self, cost):
        """Least cost @ p over all policies that keep the rows; None where there is none."""
        found = linprog(
            cost,
            A_ub=-self.matrix if len(self.bound) else None,
            b_ub=-self.bound if len(self.bound) else None,
            A_eq=self.equal,
            b_eq=self.total,
            method="highs",
        )
        return found.fun if found.status == 0 else None


def solved(drawn):
    problem = pose(drawn.levels, drawn.table, drawn.groups, drawn.scope)
    return problem, solve_on(problem.base, problem.target, names=problem.names)


def kl(p, p0):
    return float(p[p > 0] @ np.log(p[p > 0] / p0[p > 0]))


def test_every_word_on_random_problems():
    """Certificates, and Frank and Wolfe's: no policy that keeps the rows has a lower slope."""
    seen = dict.fromkeys(("solved", "infeasible", "beyond", "budget"), 0)
    for seed in range(PROBLEMS):
        drawn = Drawn(seed)
        problem, solution = solved(drawn)
        feasible = drawn.programme(np.zeros(drawn.p0.size)) is not None
        seen[solution.status] = seen.get(solution.status, 0) + 1
        assert (solution.status == "infeasible") == (not feasible), seed
        if solution.status != "solved":
            continue
        assert solution.kkt <= 1e-8
        weights = policy_weights(problem.rewards, solution.lam, drawn.groups, drawn.scope)
        p = weights * (drawn.total[drawn.groups] if drawn.scope == "prompt" else 1.0)
        assert ((problem.signs * solution.lam) >= 0).all()
        if problem.beyond:
            seen["beyond"] += 1
            assert kl(p, drawn.p0) >= drawn.budget
            continue
        scale = 1 + np.abs(drawn.matrix).max(axis=1, initial=0.0)
        assert (drawn.matrix @ p >= drawn.bound - 1e-7 * scale).all(), seed
        if drawn.budget is not None:
            seen["budget"] += 1
            assert kl(p, drawn.p0) == pytest.approx(drawn.budget, abs=1e-7)
            # The highest level at this KL has the lowest KL of its level.
            drawn.matrix = np.vstack([drawn.matrix, drawn.raised])
            drawn.bound = np.append(drawn.bound, drawn.raised @ p)
        assert solution.kl == pytest.approx(kl(p, drawn.p0), abs=1e-7)
        slope = np.log(np.maximum(p, 1e-300) / drawn.p0)
        assert slope @ p <= drawn.programme(slope) + 1e-6 * (1 + np.abs(slope).max()), seed
    assert min(seen.values()) > 50, seen
    assert seen["solved"] > 500, seen


def test_brute_force_on_a_simplex():
    """Three samples: the policy nearest to the base on a grid of the whole simplex."""
    steps = np.linspace(0, 1, 401)
    first, second = (part.ravel() for part in np.meshgrid(steps, steps))
    inside = first + second <= 1
    grid = np.stack([first, second, 1 - first - second], axis=1)[inside]
    with np.errstate(divide="ignore", invalid="ignore"):
        nats = np.nansum(np.where(grid > 0, grid * np.log(3 * grid), 0.0), axis=1)
    table = {"a": np.array([0.0, 1.0, 3.0]), "b": np.array([1.0, -1.0, 0.0])}
    e = {name: grid @ column for name, column in table.items()}
    for levels, kept in (
        ({"a": "<= 1"}, e["a"] <= 1),
        ({"a": "between 1.5 and 1.6", "b": "<= -0.1"},
         (e["a"] >= 1.5) & (e["a"] <= 1.6) & (e["b"] <= -0.1)),
        ({"share(a > 0.5)": 0.8, "b": 0.1}, (grid[:, 1] + grid[:, 2] >= 0.8) & (e["b"] >= 0.1)),
        ({"share(a > 0.5)": "<= 0.5"}, grid[:, 1] + grid[:, 2] <= 0.5),
    ):  # fmt: skip
        problem = pose(levels, table, None, "joint")
        found = solve_on(problem.base, problem.target)
        best = nats[kept].min()
        assert found.kl <= best + 1e-9
        assert found.kl == pytest.approx(best, abs=0.01)
    within = nats <= 0.3
    most = pose({"a": "maximise within 0.3 nats", "b": "<= 0"}, table, None, "joint")
    assert most.target[0] == pytest.approx(e["a"][within & (e["b"] <= 0)].max(), abs=0.01)


def table_of(seed=3, prompts=60, candidates=10):
    draws = np.random.default_rng(seed)
    groups = np.repeat(np.arange(prompts), candidates)
    table = {
        name: draws.normal(size=groups.size) + draws.normal(size=prompts)[groups] for name in "ab"
    }
    table["topic"] = np.where(groups % 3 == 0, "one", "other")
    return table, groups


def test_a_ceiling_is_the_floor_of_the_negated_value():
    table, groups = table_of()
    problem = pose({"a": "<= mean-0.3sd", "b": "q60"}, table, groups)
    turned = pose({"n": "mean+0.3sd", "b": "q60"}, {**table, "n": -table["a"]}, groups)
    sign = np.array([-1.0, 1.0])
    one, other = (solve_on(it.base, it.target) for it in (problem, turned))
    for name in ("lam", "target", "realised", "base"):
        np.testing.assert_allclose(getattr(one, name), sign * getattr(other, name), atol=1e-8)
    assert one.lam[0] < 0 < one.lam[1]
    ours, theirs = (
        solve_limit(it.base, it.target, found.lam).raw
        for it, found in ((problem, one), (turned, other))
    )
    np.testing.assert_allclose(ours, sign * theirs, atol=1e-6)
    spans = []
    for it, lam in ((problem, one.lam), (turned, other.lam)):
        limit = solve_limit(it.base, it.target, lam)
        interval = delta_interval(it.base, lam, it.target, limit)
        again = bootstrap_interval(
            it.rewards, it.levels, names=it.names, groups=groups, scope="auto", resamples=20,
            seed=1, limit=limit, signs=it.signs,
        )  # fmt: skip
        spans.append((interval, again))
    for ours, theirs in zip(*spans, strict=True):
        for low, high in (
            ("lam_low", "lam_high"),
            ("level_low", "level_high"),
            ("train_low", "train_high"),
        ):
            np.testing.assert_allclose(getattr(ours, low)[0], -getattr(theirs, high)[0], atol=1e-5)
            np.testing.assert_allclose(getattr(ours, high)[1], getattr(theirs, high)[1], atol=1e-5)
        assert (ours.lam_low <= ours.lam_high).all()
        assert ours.level_low[0] < one.realised[0] < ours.level_high[0]
    low, high = (
        highest_levels(problem.base, problem.target),
        highest_levels(turned.base, turned.target),
    )
    np.testing.assert_allclose(np.array(low), sign * np.array(high), atol=1e-6)
    assert furthest_of_value(problem.base, problem.target, 0) < one.realised[0]


def test_levels_of_a_group_are_those_of_its_prompts():
    table, groups = table_of()
    inside = table["topic"] == "one"
    for scope in ("prompt", "joint"):
        problem = pose({"a[topic=one]": "q70"}, table, groups, scope)
        alone = pose({"a": "q70"}, {"a": table["a"][inside]}, groups[inside], scope)
        solution = solve_on(problem.base, problem.target)
        assert problem.target[0] == pytest.approx(alone.target[0])
        assert solution.base[0] == pytest.approx(alone.base.center[0])
        assert solution.realised[0] == pytest.approx(solution.target[0])
        p = policy_weights(problem.rewards, solution.lam, groups, scope)
        mean = p[inside] @ table["a"][inside] / p[inside].sum()
        assert mean == pytest.approx(solution.target[0])
        if scope == "prompt":
            np.testing.assert_allclose(p[~inside], 0.1)


def test_a_group_must_be_there_and_hold_whole_prompts():
    table, groups = table_of()
    with pytest.raises(InputError, match="no row has 'none'"):
        pose({"a[topic=none]": 1}, table, groups)
    table["topic"][1] = "other"
    with pytest.raises(InputError, match="for some rows of a prompt"):
        pose({"a[topic=one]": 1}, table, groups)
    with pytest.raises(InputError, match="no column 'lang'"):
        pose({"a[lang=en]": 1}, table, groups)


def test_a_budget_that_does_not_bind_or_does_not_suffice():
    table, groups = table_of()
    with pytest.raises(InputError, match=r"a: to maximise it within 9 nats is no limit"):
        pose({"a": "maximise within 9 nats"}, table, groups)
    problem = pose({"a": "maximise within 0.01 nats", "b": "mean+0.5sd"}, table, groups)
    assert "the other levels alone need" in problem.beyond


def test_signs_change_nothing_of_a_base_without_ceilings():
    table, groups = table_of()
    rewards = np.stack([table["a"], table["b"]], axis=1)
    plain, signed = Base(rewards, groups, "auto"), pose({"a": 0, "b": 0}, table, groups).base
    np.testing.assert_array_equal(plain.scale, signed.scale)
