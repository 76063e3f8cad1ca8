"""Random small problems, ragged, with weighted prompts: generic solvers and written-out sums."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mapdata import whole_programme
from scipy.optimize import minimize
from scipy.special import logsumexp

from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.batch import solve_many_on
from polyalign.map.dual import solve_on
from polyalign.map.feasibility import feasibility_on, furthest_of_value, furthest_on_segment

EDGE = 1e-6


@dataclass
class Problem:
    """A table, and the same as distributions: `p0` within each cell, and the cells' `shares`."""

    rewards: np.ndarray
    groups: np.ndarray
    weights: np.ndarray
    scope: str
    levels: np.ndarray

    def __post_init__(self):
        self.base = Base(self.rewards, self.groups, self.scope, prompt_weights=self.weights)
        self.target = self.base.raw(self.levels)
        self.keep = self.weights[self.groups] > 0
        groups, joint = self.groups[self.keep], self.scope == "joint"
        self.z = self.base.standardise(self.rewards[self.keep])
        self.goal = self.base.standardise(self.target)
        self.cells = np.zeros(groups.size, dtype=int) if joint else groups
        weight = self.weights[groups] if joint else np.ones(groups.size)
        self.p0 = weight / np.bincount(self.cells, weight)[self.cells]
        self.shares = np.ones(1)
        if not joint:
            self.shares = self.weights[np.unique(groups)] / self.weights[np.unique(groups)].sum()
        self.share = dict(zip(np.unique(self.cells), self.shares, strict=True))
        self.of_row = np.array([self.share[cell] for cell in self.cells])

    def programme(self, offset, direction, values=slice(None)):
        return whole_programme(
            self.z[:, values], self.cells, offset[values], direction[values], self.shares
        )


@st.composite
def problems(draw):
    seed, scope = draw(st.integers(0, 10**6)), draw(st.sampled_from(["prompt", "joint"]))
    kind = draw(st.sampled_from(["plain", "ties", "units", "opposed"]))
    draws = np.random.default_rng(seed)
    prompts, k = int(draws.integers(1, 6)), int(draws.integers(1, 5))
    groups = np.repeat(np.arange(prompts), draws.integers(1, 6, prompts))
    rewards = draws.normal(size=(groups.size, k)) + draws.normal(size=(prompts, k))[groups]
    if kind == "ties":
        rewards = np.round(rewards)
    if kind == "units":
        rewards = rewards * 10.0 ** draws.integers(-3, 4, k) + 10.0 ** draws.integers(0, 4, k)
    if kind == "opposed":
        rewards[:, -1] = -rewards[:, 0]
    order = draws.permutation(groups.size)
    weights = draws.random(prompts) * (draws.random(prompts) > 0.2)
    weights[0] = 1.0
    levels = draws.uniform(-1, draws.choice([0.5, 1.5]), k)
    return Problem(rewards[order], groups[order], weights, scope, levels)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_feasibility_is_that_of_the_whole_programme(problem):
    ones = np.ones(problem.base.k)
    exact = problem.programme(problem.goal, ones)
    names = list("abcd")[: problem.base.k]
    answer = feasibility_on(problem.base, problem.target, names)
    assert answer.slack == pytest.approx(exact, abs=EDGE)
    assume(abs(exact) > EDGE)
    assert answer.status == ("feasible" if exact > 0 else "infeasible")
    solution = solve_on(problem.base, problem.target)
    batch = solve_many_on(problem.base, problem.target[None, :])
    assert (solution.verdict != "infeasible") == batch.feasible[0] == (exact > 0)
    if exact < 0:
        # The values that are named cannot be reached together, the others left out.
        named = [names.index(name) for name in answer.conflict]
        assert problem.programme(problem.goal, ones, named) == pytest.approx(exact, abs=EDGE)


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(0, 3))
def test_furthest_points_are_those_of_the_whole_programme(problem, value):
    base, k = problem.base, problem.base.k
    if (problem.goal > EDGE).any():
        exact = problem.programme(np.zeros(k), problem.goal)
        # The base policy is always at 0; by rounding, HiGHS may find not even that.
        exact = max(0.0, exact or 0.0)
        share = furthest_on_segment(base, problem.target)
        # HiGHS keeps each row to some 1e-8: of a small goal that is a larger share.
        rounding = 1e-7 / problem.goal[problem.goal > EDGE].min()
        assert share == pytest.approx(exact, rel=EDGE, abs=EDGE + rounding)
    unit = np.eye(k)[value % k]
    exact = problem.programme(np.where(unit > 0, 0.0, problem.goal), unit)
    if exact is None:
        with pytest.raises(InputError, match="infeasible already"):
            furthest_of_value(base, problem.target, value % k)
        return
    level = furthest_of_value(base, problem.target, value % k)
    found = base.standardise(np.full(k, level))[value % k]
    assert found == pytest.approx(exact, rel=1e-5, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_solutions_keep_the_conditions_and_no_solver_finds_a_higher_dual(problem):
    solution = solve_on(problem.base, problem.target)
    assume(solution.status == "solved")
    assert solution.kkt <= 1e-8
    p = problem.base.weights(solution.lam * problem.base.scale)
    assert (p[~problem.keep] == 0).all()
    p = p[problem.keep] * problem.of_row
    for cell, share in problem.share.items():
        assert p[problem.cells == cell].sum() == pytest.approx(share)
    level = p @ problem.z
    assert (level >= problem.goal - 1e-7).all()
    lam = solution.lam * problem.base.scale
    assert np.abs(lam * (level - problem.goal)).max() < 1e-7
    seen = p > 0
    kl = float(p[seen] @ np.log(p[seen] / (problem.p0 * problem.of_row)[seen]))
    assert solution.kl == pytest.approx(kl, abs=1e-8)
    assert solution.dual == pytest.approx(kl, abs=1e-6)

    def negative(lam):
        value, gradient = -lam @ problem.goal, -problem.goal
        for cell, share in problem.share.items():
            rows = problem.cells == cell
            logits = problem.z[rows] @ lam + np.log(problem.p0[rows])
            value = value + share * logsumexp(logits)
            gradient = gradient + share * np.exp(logits - logsumexp(logits)) @ problem.z[rows]
        return value, gradient

    found = minimize(
        negative, np.zeros(lam.size), jac=True, bounds=[(0, None)] * lam.size, method="L-BFGS-B"
    )
    assert -found.fun <= solution.dual + 1e-7
