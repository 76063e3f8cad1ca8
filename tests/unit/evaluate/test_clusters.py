import numpy as np
import pandas as pd
import pytest

from polyalign.errors import InputError
from polyalign.evaluate import clusters
from polyalign.evaluate.clusters import (
    bootstrap_interval,
    cluster_sums,
    judged_rows,
    ratio_mean,
)


def test_ratio_mean_by_hand() -> None:
    # Clusters (1, 3) and (5): R = 9/3; residuals 4 - 3·2 = -2 and 5 - 3 = 2; se = √(2·8)/3.
    sums, sizes = cluster_sums(np.array([[1.0], [5.0], [3.0]]), np.array([0, 1, 0]))
    assert sums.tolist() == [[4.0], [5.0]]
    mean, se = ratio_mean(sums, sizes)
    assert mean[0] == pytest.approx(3.0)
    assert se[0] == pytest.approx(4 / 3)


def test_clusters_of_one_give_the_usual_standard_error() -> None:
    rows = np.random.default_rng(1).normal(size=(50, 2))
    mean, se = ratio_mean(rows, np.ones(50))
    np.testing.assert_allclose(mean, rows.mean(axis=0))
    np.testing.assert_allclose(se, rows.std(axis=0, ddof=1) / np.sqrt(50))


def test_copies_of_a_candidate_make_the_mean_no_surer() -> None:
    rows = np.random.default_rng(2).normal(size=(40, 1))
    once = ratio_mean(rows, np.ones(40))
    copied = ratio_mean(*cluster_sums(np.repeat(rows, 5, axis=0), np.repeat(np.arange(40), 5)))
    np.testing.assert_allclose(once, copied)


def test_one_cluster_has_no_standard_error() -> None:
    mean, se = ratio_mean(np.array([[4.0]]), np.array([2]))
    assert mean[0] == 2.0
    assert np.isnan(se[0])


def test_bootstrap_of_two_clusters_reaches_both_ends() -> None:
    # Resamples are aa, ab, ba, bb with means 2, 3, 3, 5 (a ratio: ab is 9/3, not 3.5).
    interval = bootstrap_interval(np.array([[4.0], [5.0]]), np.array([2, 1]), bootstrap=400, seed=3)
    assert interval[:, 0].tolist() == [2.0, 5.0]


def test_bootstrap_repeats_by_seed() -> None:
    sums = np.random.default_rng(4).normal(size=(30, 2))
    first, again, other = (
        bootstrap_interval(sums, np.ones(30), bootstrap=100, seed=seed) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_bootstrap_covers_the_truth() -> None:
    generator = np.random.default_rng(5)
    covered, naive, se_covered = 0, 0, 0
    for trial in range(300):
        sizes = generator.integers(1, 8, size=60)
        groups = np.repeat(np.arange(60), sizes)
        shared = generator.normal(size=60)[groups]
        rows = (shared + 0.5 * generator.normal(size=groups.size))[:, None]
        sums, counts = cluster_sums(rows, groups)
        low, high = bootstrap_interval(sums, counts, bootstrap=300, seed=trial)[:, 0]
        covered += low <= 0 <= high
        mean, se = ratio_mean(sums, counts)
        se_covered += abs(mean[0]) <= 1.96 * se[0]
        naive += abs(rows.mean()) <= 1.96 * rows.std() / np.sqrt(rows.size)
    assert 0.90 <= covered / 300 <= 0.98
    assert 0.90 <= se_covered / 300 <= 0.98
    assert naive / 300 < 0.8  # the problem is one where clustering matters


def test_no_resamples_is_refused() -> None:
    once = bootstrap_interval(np.array([[3.0]]), np.ones(1), bootstrap=1, seed=1)
    assert once.tolist() == [[3.0], [3.0]]
    with pytest.raises(InputError, match=r"evaluation\.bootstrap is 0; expected at least 1"):
        bootstrap_interval(np.ones((2, 1)), np.ones(2), bootstrap=0, seed=1)


def test_no_test_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"no row of the split 'test' \(splits there: fit\)"):
        judged_rows(pd.DataFrame({"split": ["fit", "fit"]}))


def test_blocks_of_resamples_are_the_draws_of_one_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clusters, "BLOCK", 7)
    blocks = list(clusters.cluster_counts(3, 5, seed=4))
    assert [len(block) for block in blocks] == [2, 2, 1]
    draws = np.random.default_rng(4)
    for block in blocks:
        drawn = draws.integers(3, size=block.shape)
        assert block.tolist() == [np.bincount(row, minlength=3).tolist() for row in drawn]
    monkeypatch.setattr(clusters, "BLOCK", 2)
    assert [len(block) for block in clusters.cluster_counts(3, 2, seed=4)] == [1, 1]


def test_the_interval_cuts_off_a_fortieth_on_each_side() -> None:
    sums = np.arange(12.0)[:, None] ** 2
    sizes = np.arange(12) % 3 + 1
    drawn = np.random.default_rng(6).integers(12, size=(500, 12))
    means = np.sort(sums[drawn, 0].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = bootstrap_interval(sums, sizes, bootstrap=500, seed=6)[:, 0]
    # 2.5 % and 97.5 % of 499 steps: between the sorted means 12 and 13, 486 and 487.
    assert low == pytest.approx(means[12] + 0.475 * (means[13] - means[12]))
    assert high == pytest.approx(means[486] + 0.525 * (means[487] - means[486]))


def test_all_values_without_a_column_are_named() -> None:
    frame = pd.DataFrame({"humor": [1.0]})
    clusters.check_columns(frame, ["humor"], "the table")
    with pytest.raises(InputError, match="the table has no column for 'wit', 'tact'"):
        clusters.check_columns(frame, ["wit", "humor", "tact"], "the table")
