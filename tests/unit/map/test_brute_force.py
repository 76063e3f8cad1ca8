"""Random small problems, ragged and weighted, against generic solvers and written-out sums."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mapdata import whole_programme
from scipy.optimize import minimize
from scipy.special import logsumexp

from polyalign.errors import InputError
from polyalign.map import feasibility, policy_weights, solve
from polyalign.map.base import Base
from polyalign.map.batch import solve_many
from polyalign.map.feasibility import furthest_of_value, furthest_on_segment

EDGE = 1e-6


@dataclass
class Problem:
    """A table, and the same as distributions: `within` and `share` of each sample's group."""

    rewards: np.ndarray
    groups: np.ndarray
    weights: np.ndarray
    scope: str
    target: np.ndarray

    def __post_init__(self):
        self.base = Base(self.rewards, self.groups, self.scope, weights=self.weights)
        keep = self.weights > 0
        self.z = self.base.standardise(self.rewards[keep])
        self.goal = self.base.standardise(self.target)
        joint = self.scope == "joint"
        self.cells = np.zeros(keep.sum(), dtype=int) if joint else self.groups[keep]
        self.shares = np.full(np.unique(self.cells).size, 1.0)
        self.shares /= self.shares.size
        self.p0 = self.weights[keep] / np.bincount(self.cells, self.weights[keep])[self.cells]

    def programme(self, offset, direction, values=slice(None)):
        return whole_programme(
            self.z[:, values], self.cells, offset[values], direction[values], self.shares
        )

    def given(self):
        return {"groups": self.groups, "scope": self.scope, "weights": self.weights}


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
    weights = draws.random(groups.size) * (draws.random(groups.size) > 0.2)
    weights[0] = 1.0
    base = Base(rewards[order], groups[order], scope, weights=weights)
    target = base.raw(draws.uniform(-1, draws.choice([0.5, 1.5]), k))
    return Problem(rewards[order], groups[order], weights, scope, target)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_feasibility_is_that_of_the_whole_programme(problem):
    ones = np.ones(problem.base.k)
    exact = problem.programme(problem.goal, ones)
    names = list("abcd")[: problem.base.k]
    answer = feasibility(problem.rewards, problem.target, names=names, **problem.given())
    assert answer.slack == pytest.approx(exact, abs=EDGE)
    assume(abs(exact) > EDGE)
    assert answer.status == ("feasible" if exact > 0 else "infeasible")
    solution = solve(problem.rewards, problem.target, **problem.given())
    batch = solve_many(problem.rewards, problem.target[None, :], **problem.given())
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
        share = furthest_on_segment(base, problem.target)
        assert share == pytest.approx(exact, rel=EDGE, abs=EDGE)
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
    solution = solve(problem.rewards, problem.target, **problem.given())
    assume(solution.status == "solved")
    assert solution.kkt <= 1e-8
    p = policy_weights(
        problem.rewards, solution.lam, problem.groups, problem.scope, problem.weights
    )
    keep = problem.weights > 0
    assert (p[~keep] == 0).all()
    p = p[keep] * problem.shares[0]
    for cell in np.unique(problem.cells):
        assert p[problem.cells == cell].sum() == pytest.approx(problem.shares[0])
    level = p @ problem.z
    assert (level >= problem.goal - 1e-7).all()
    lam = solution.lam * problem.base.scale
    assert np.abs(lam * (level - problem.goal)).max() < 1e-7
    seen = p > 0
    kl = float(p[seen] @ np.log(p[seen] / (problem.p0 * problem.shares[0])[seen]))
    assert solution.kl == pytest.approx(kl, abs=1e-8)
    assert solution.dual == pytest.approx(kl, abs=1e-6)

    def negative(lam):
        value, gradient = -lam @ problem.goal, -problem.goal
        for cell, share in zip(np.unique(problem.cells), problem.shares, strict=True):
            rows = problem.cells == cell
            logits = problem.z[rows] @ lam + np.log(problem.p0[rows])
            value = value + share * logsumexp(logits)
            gradient = gradient + share * np.exp(logits - logsumexp(logits)) @ problem.z[rows]
        return value, gradient

    found = minimize(
        negative, np.zeros(lam.size), jac=True, bounds=[(0, None)] * lam.size, method="L-BFGS-B"
    )
    assert -found.fun <= solution.dual + 1e-7
