"""Statistics of rows that come in clusters: the candidates of one prompt are not independent."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from polyalign.errors import InputError

BLOCK = 4_000_000  # entries of one block of bootstrap counts: 32 MB
INTERVAL = (2.5, 97.5)  # percentiles of a 95 % interval
NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def judged_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the `test` split.

    Raises:
        InputError: if there is none.
    """
    rows = frame[frame["split"] == "test"]
    if rows.empty:
        found = ", ".join(sorted(map(str, frame["split"].unique()))) or "none"
        raise InputError(
            f"the rewards table has no row of the split 'test' (splits there: {found}); levels and "
            "win rates are judged on test prompts alone: raise prompts.test_share, or give the "
            "table a 'split' column"
        )
    return rows


def check_columns(frame: pd.DataFrame, values: list[str], which: str) -> None:
    """Raise InputError naming the values that have no column in the rewards table `which`."""
    absent = [name for name in values if name not in frame]
    if absent:
        raise InputError(
            f"{which} has no column for {', '.join(map(repr, absent))}; expected one column per "
            "value: annotate the table with it, or leave the value out of `values`"
        )


def cluster_sums(rows: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums (N, k) and sizes (N,) of the clusters.

    Args:
        rows: (n, k) float64.
        groups: (n,) cluster index from 0 to N - 1, each at least once.
    """
    sizes = np.bincount(groups)
    columns = [np.bincount(groups, column) for column in rows.T]
    return np.stack(columns, axis=1), sizes


def ratio_mean(sums: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over all rows and its standard error, rows clustered.

    The mean is the ratio R = Σ T_p / Σ n_p of cluster sums and sizes; its variance is linearised:
    N / (N - 1) · Σ (T_p - R n_p)² / (Σ n_p)² (Cochran, Sampling Techniques, 1977, §9A).

    Args:
        sums: (N, k) sums of the clusters.
        sizes: (N,) rows of the clusters.

    Returns:
        Means (k,) and standard errors (k,); the latter NaN where there is one cluster only.
    """
    number, rows = len(sizes), sizes.sum()
    mean = sums.sum(axis=0) / rows
    if number < 2:
        return mean, np.full(mean.shape, np.nan)
    residual = sums - mean * sizes[:, None]
    return mean, np.sqrt(number / (number - 1) * (residual**2).sum(axis=0)) / rows


def bootstrap_interval(
    sums: np.ndarray, sizes: np.ndarray, *, bootstrap: int, seed: int
) -> np.ndarray:
    """95 % percentile interval (2, k) of Σ T_p / Σ n_p over resampled clusters.

    Args:
        sums: (N, k) sums of the clusters.
        sizes: (N,) weights of the clusters.
        bootstrap: number of resamples.
        seed: seed of the resamples.

    Raises:
        InputError: if `bootstrap` is below 1.
    """
    if bootstrap < 1:
        raise InputError(f"evaluation.bootstrap is {bootstrap}; expected at least 1 resample")
    means = [
        counts @ sums / (counts @ sizes)[:, None]
        for counts in cluster_counts(len(sizes), bootstrap, seed)
    ]
    return np.percentile(np.concatenate(means), INTERVAL, axis=0)


def cluster_counts(number: int, bootstrap: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `number` clusters is drawn: one row per resample, in blocks of rows."""
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // number)
    for start in range(0, bootstrap, step):
        block = min(step, bootstrap - start)
        draws = generator.integers(number, size=(block, number))
        draws += number * np.arange(block)[:, None]
        counts = np.bincount(draws.ravel(), minlength=block * number)
        yield counts.reshape(block, number).astype(np.float64)
