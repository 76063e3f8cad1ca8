"""The base policy as a table, by hand: scopes, weights, units, quantiles."""

import numpy as np
import pytest
from mapdata import skewed

from polyalign.errors import InputError
from polyalign.map.base import (
    CHUNK_CELLS,
    Base,
    base_probabilities,
    check_groups,
    check_names,
    check_rewards,
    check_weights,
    chunks,
    resolve_scope,
    softmax,
)

REWARDS = np.array([[0.0], [4.0], [1.0], [1.0], [4.0]])
GROUPS = np.array([0, 0, 1, 1, 1])


def test_levels_and_units_by_hand():
    prompt = Base(REWARDS, GROUPS, "prompt")
    # Prompt means 2 and 2; squares about 2: (4 + 4) / 2 = 4 and (1 + 1 + 4) / 3 = 2.
    assert prompt.center[0] == pytest.approx(2.0)
    assert prompt.scale[0] == pytest.approx(np.sqrt(3.0))
    assert prompt.max_kl == pytest.approx((np.log(2) + np.log(3)) / 2)
    assert (prompt.n_samples, prompt.n_prompts) == (5, 2)
    joint = Base(REWARDS, GROUPS, "joint")
    assert joint.center[0] == pytest.approx(2.0)
    assert joint.scale[0] == pytest.approx(np.sqrt((4 + 4 + 1 + 1 + 4) / 5))
    assert joint.max_kl == pytest.approx(np.log(5))
    assert prompt.raw(prompt.standardise(np.array([7.0]))) == pytest.approx(7.0)
    assert prompt.standardise(np.array([7.0])) == pytest.approx(5 / np.sqrt(3))


def test_weights_of_prompts_by_hand():
    prompt = Base(REWARDS + GROUPS[:, None], GROUPS, "prompt", prompt_weights=np.array([1.0, 3.0]))
    assert prompt.center[0] == pytest.approx(0.25 * 2 + 0.75 * 3)
    assert prompt.max_kl == pytest.approx(0.25 * np.log(2) + 0.75 * np.log(3))
    joint = Base(REWARDS + GROUPS[:, None], GROUPS, "joint", prompt_weights=np.array([1.0, 3.0]))
    assert joint.center[0] == pytest.approx((4 + 3 * 9) / 11)
    # The rarest sample costs most: log(1 / p0) of a row of prompt 0.
    assert joint.max_kl == pytest.approx(np.log(11))
    alone = Base(REWARDS, GROUPS, "joint", prompt_weights=np.array([0.0, 2.0]))
    assert (alone.n_samples, alone.n_prompts) == (3, 1)
    np.testing.assert_allclose(alone.weights(np.zeros(1)), [0, 0, 1 / 3, 1 / 3, 1 / 3])


def test_greedy_levels_and_each_prompts_level():
    rewards = np.array([[0.0, 3.0], [4.0, 0.0], [1.0, 1.0], [2.0, 5.0], [3.0, 0.0]])
    base = Base(rewards, GROUPS, "prompt")
    best = base.raw(base.best(np.array([1.0, 0.0])))
    np.testing.assert_allclose(best, [3.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(base.raw(base.best(np.array([0.0, 1.0]))), [1.0, 4.0])
    joint = Base(rewards, GROUPS, "joint")
    np.testing.assert_allclose(joint.raw(joint.best(np.array([0.0, 1.0]))), [2.0, 5.0])
    levels, share = base.prompt_levels(np.zeros(2))
    order = np.argsort(levels[:, 1])
    np.testing.assert_allclose(base.raw(levels[order]), [[2.0, 1.5], [2.0, 2.0]])
    np.testing.assert_allclose(share, 0.5)


def test_a_constant_value_has_unit_one():
    rewards = np.column_stack([np.full(4, 3e6), [0.0, 1e-9, 0.0, 1e-9]])
    base = Base(rewards, None, "joint")
    assert base.scale[0] == 1.0
    assert base.scale[1] == pytest.approx(5e-10)
    nearly = np.array([[3e6], [3e6 + 4e-6]])  # 0.7e-12 of the level: rounding of a constant
    assert Base(nearly, None, "joint").scale[0] == 1.0
    assert Base(nearly * [[1], [1 + 1e-9]], None, "joint").scale[0] < 1.0


def test_quantiles_count_samples_at_the_level_itself():
    base = Base(np.array([[0.0], [1.0], [2.0], [1.0]]), None, "joint")
    shares = base.shares_below(np.array([[0.0], [-1e-9], [9.0], [-9.0]]))
    assert shares[:, 0].tolist() == [0.75, 0.25, 1.0, 0.0]
    prompt = Base(REWARDS, GROUPS, "prompt")
    level = prompt.standardise(np.array([[1.5]]))
    assert prompt.shares_below(level)[0, 0] == pytest.approx(0.25 + 1 / 3)


def test_auto_is_prompt_from_eight_candidates_on_average():
    groups = np.repeat([0, 1], [5, 11])
    assert resolve_scope("auto", 16, groups) == "prompt"
    assert resolve_scope("auto", 15, groups[:15]) == "joint"
    assert resolve_scope("auto", 16, None) == "joint"
    assert resolve_scope("prompt", 2, None) == "prompt"


def test_probabilities_of_the_samples():
    p = base_probabilities(5, GROUPS, "prompt")
    np.testing.assert_allclose(p, [0.25, 0.25, 1 / 6, 1 / 6, 1 / 6])
    np.testing.assert_allclose(base_probabilities(5, GROUPS, "joint"), 0.2)
    weights = np.array([0.1, 0.3, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(base_probabilities(5, GROUPS, "joint", weights), weights / 0.4)
    weights[2] = 0.2
    within = base_probabilities(5, GROUPS, "prompt", weights)
    np.testing.assert_allclose(within, [1 / 8, 3 / 8, 1 / 2, 0.0, 0.0])
    weights[2] = 0.0  # a prompt without weight does not count
    within = base_probabilities(5, GROUPS, "prompt", weights)
    np.testing.assert_allclose(within, [1 / 4, 3 / 4, 0.0, 0.0, 0.0])
    with pytest.raises(InputError, match="all weights are zero"):
        base_probabilities(2, None, "joint", np.zeros(2))


def test_many_lam_are_handled_in_slices_that_fit_the_cache():
    half = CHUNK_CELLS // 2
    assert list(chunks(5, half)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(chunks(2, 10 * CHUNK_CELLS)) == [slice(0, 1), slice(1, 2)]


def test_many_blocks_give_what_one_gives(monkeypatch):
    rewards, groups = skewed(30, 6, 2, 3)
    keep = np.random.default_rng(1).random(180) < 0.8
    rewards, groups = rewards[keep], np.random.default_rng(2).permutation(30)[groups][keep]
    weights = np.linspace(0.0, 2.0, 30)
    few = Base(rewards, groups, "prompt", prompt_weights=weights)
    monkeypatch.setattr("polyalign.map.base.BLOCK_NUMBERS", 30)
    many = Base(rewards, groups, "prompt", prompt_weights=weights)
    assert len(many.blocks) > 2 * len(few.blocks)
    np.testing.assert_allclose(many.center, few.center, rtol=1e-13)
    np.testing.assert_allclose(many.scale, few.scale, rtol=1e-13)
    assert many.max_kl == pytest.approx(few.max_kl, rel=1e-13)
    for lam in (np.zeros(2), np.array([0.4, 0.9])):
        for one, other in zip(many.moments(lam), few.moments(lam), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(many.weights(lam), few.weights(lam), rtol=1e-12)
        assert many.support(lam) == pytest.approx(few.support(lam), rel=1e-12)


def test_rough_moments_are_the_moments_in_single_precision_and_slopes_are_exact(monkeypatch):
    rewards, groups = skewed(30, 6, 2, 3)
    assert Base(rewards, groups, "joint").rough() is None
    assert Base(rewards, groups, "prompt").rough() is None  # one block: nothing to gain
    monkeypatch.setattr("polyalign.map.base.BLOCK_NUMBERS", 60)
    base = Base(rewards, groups, "prompt")
    rough = base.rough()
    for lam in (np.zeros(2), np.array([0.4, 0.9])):
        exact = base.moments(lam)
        for one, other in zip(rough.moments(lam), exact, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-6)
        value, level = rough.slopes(lam)
        assert value == pytest.approx(exact[0], rel=1e-13, abs=1e-15)
        np.testing.assert_allclose(level, exact[1], rtol=1e-12, atol=1e-14)
        # What the slopes have seen of the support is what the weights say.
        sizes = 1 / (base.weights(lam).reshape(30, 6) ** 2).sum(axis=1)
        largest = base.weights(lam).reshape(30, 6).max(axis=1).mean()
        assert base.support(lam) == pytest.approx((sizes.sum(), sizes.mean(), largest), rel=1e-12)


@pytest.mark.parametrize("prompts", [1, 3])
def test_softmax_neither_overflows_nor_loses_its_normaliser(prompts):
    logits = np.array([[[1e4] * prompts, [1e4 + np.log(3)] * prompts]])
    log_z, p = softmax(logits)
    np.testing.assert_allclose(log_z, 1e4 + np.log(4))
    np.testing.assert_allclose(p[0], [[0.25] * prompts, [0.75] * prompts], rtol=1e-9)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_the_normaliser_is_the_mean_of_the_exponentials(scope):
    rewards, groups = skewed(6, 5, 2, 3)
    groups = groups[:-2]
    rewards = rewards[:-2]
    base = Base(rewards, groups, scope)
    lam = np.array([0.4, 0.9])
    e = np.exp(base.standardise(rewards) @ lam)
    means = [e[groups == x].mean() for x in range(6)] if scope == "prompt" else [e.mean()]
    assert base.moments(lam)[0] == pytest.approx(np.mean(np.log(means)), rel=1e-12)
    tilts = base.tilts(np.array([lam, [0.0, 0.0]]))
    assert tilts.log_z[0] == pytest.approx(np.mean(np.log(means)), rel=1e-12)
    sizes = [5, 5, 5, 5, 5, 3] if scope == "prompt" else [28]
    assert tilts.ess[1] == pytest.approx(28)
    assert tilts.mean_ess[1] == pytest.approx(np.mean(sizes))
    assert tilts.max_weight[1] == pytest.approx(np.mean(1 / np.array(sizes)))


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_rewards(np.zeros((2, 0))), r"shape \(2, 0\)"),
        (lambda: check_rewards(np.zeros(2)), r"shape \(2,\)"),
        (lambda: check_rewards([[1.0, 2.0], [3.0, np.inf]]), "inf in row 1, column 1"),
        (lambda: check_rewards([[1.0, np.nan], [np.inf, 4.0]]), "nan in row 0, column 1"),
        (lambda: check_weights(np.array([-2.0, np.nan]), 2), "-2.0 in row 0"),
        (lambda: check_groups(np.array([0, -1]), 2), "integers >= 0"),
        (lambda: check_groups(np.array([0]), 2), "expected 2 integers"),
        (lambda: check_weights(np.array([0.0, np.nan]), 2), "nan in row 1"),
        (lambda: check_names(["a", "a"], 2), "expected 2 different names"),
        (lambda: check_names(["a"], 2), "expected 2 different names"),
    ],
)
def test_bad_arrays_are_refused(check, message):
    with pytest.raises(InputError, match=message):
        check()


def test_weights_of_zero_are_allowed_and_values_are_numbered():
    assert check_weights(np.array([0, 2]), 2).tolist() == [0.0, 2.0]
    assert check_groups(np.array([0, 3], dtype=np.uint8), 2).tolist() == [0, 3]
    assert check_names(None, 2) == ["value0", "value1"]


def test_the_last_moments_are_known_in_other_units_too():
    """A solution is the start of the next one; anything further away is computed."""
    rewards = np.random.default_rng(5).normal(size=(200, 3)) * [3.0, 0.07, 11.0]
    base, lam = Base(rewards, None, "joint"), np.array([0.3, 0.0, 1.7])
    known = base.moments(lam)
    assert base.moments(lam / base.scale * base.scale) is known
    for other in (lam * [1 + 1e-12, 1, 1], np.array([0.3, 1e-300, 1.7]), lam[::-1]):
        found = base.moments(other)
        assert found is not known
        fresh = Base(rewards, None, "joint").moments(other)
        for ours, expected in zip(found, fresh, strict=True):
            np.testing.assert_array_equal(ours, expected)
        known = base.moments(lam)
    with pytest.raises(ValueError, match="read-only"):
        known[2][0, 0] = 1.0
