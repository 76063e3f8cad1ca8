import numpy as np
import pytest

from polyalign.evaluate.significance import holm, p_all, p_better


def test_p_values_by_the_table_of_the_normal() -> None:
    p = p_better(np.array([0.598, 0.5, 0.402]), np.array([0.05, 0.05, 0.05]))
    assert p.tolist() == pytest.approx([0.025, 0.5, 0.975], abs=1e-4)


def test_p_values_without_spread() -> None:
    p = p_better(np.array([0.6, 0.5, 0.4]), np.zeros(3))
    assert p.tolist() == [0.0, 0.5, 1.0]


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1: 0.03, 0.06, and 0.04 raised to 0.06.
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_the_joint_claim_is_as_weak_as_its_weakest_part() -> None:
    assert p_all(np.array([0.001, 0.04, 0.02])) == 0.04


def test_the_joint_claim_keeps_its_level() -> None:
    """At the worst null (one value at one half, the others far above) it errs in 5 % of cases."""
    draws = np.random.default_rng(1)
    se = np.array([0.03, 0.03, 0.03])
    truth = np.array([0.5, 0.8, 0.8])
    claimed = [p_all(p_better(draws.normal(truth, se), se)) < 0.05 for _ in range(4000)]
    assert np.mean(claimed) == pytest.approx(0.05, abs=0.012)
