"""Tests of claims about several values at once."""

import math

import numpy as np

LEVEL = 0.05  # of every test


def p_better(winrate: np.ndarray, se: np.ndarray) -> np.ndarray:
    """One-sided p-values (k,) of "the win rate is above one half", by the normal approximation.

    Args:
        winrate: (k,) win rates.
        se: (k,) standard errors, clustered by prompt; where it is 0 a win rate of one half has the
            p-value ½, one above it 0 and one below it 1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.nan_to_num((winrate - 0.5) / se, nan=0.0, posinf=np.inf, neginf=-np.inf)
    return np.array([0.5 * math.erfc(one / math.sqrt(2)) for one in z])


def holm(p: np.ndarray) -> np.ndarray:
    """P-values (k,) adjusted for testing k single claims (Holm, Scand. J. Statist. 6, 1979)."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def p_all(p: np.ndarray) -> float:
    """P-value of "better in every value" (intersection-union test; Berger, Technometrics 24, 1982).

    The claim is one, so the largest single p-value needs no correction.
    """
    return float(np.max(p))
