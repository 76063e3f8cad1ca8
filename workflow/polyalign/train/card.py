"""The card of a reward model: how far its outputs agree with people, on texts held out from it.

Every number is computed from the table of held-out texts that lies in the model's folder, so
anybody can compute it again. Intervals are percentiles of a bootstrap over groups of texts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, log_softmax, logsumexp
from scipy.stats import kendalltau, spearmanr

from polyalign.train.calibration import calibration, reliability

TABLE = "held_out.parquet"
"""File of the held-out texts in a model's folder."""

RESAMPLES = 200
"""Bootstrap resamples behind an interval."""

HALVES = 20
"""Random divisions of the raters behind a ceiling."""

BINS = 10
"""Bins of the calibration, with as many texts each."""


def outputs_card(table: pd.DataFrame, kind: str, names: Sequence[str]) -> dict[str, Any]:
    """The card of a model of labelled or rated texts.

    Args:
        table: held-out texts: `text`, `group`, `label` (see `polyalign.data.labels`), for ratings
            `ratings`, and `logit:NAME` for each output.
        kind: classes, several or ratings.
        names: of the outputs.

    Returns:
        `kind`, `texts`, `groups`;
        `agreement`: name → `rho` (Spearman's, of output and label), `auc` (see `concordance`), each
        with its 95 % interval `[estimate, low, high]`, and `rho_length`, of output and number of
        words; the output of a class is the log of its odds, and of two classes the second is
        listed;
        `accuracy` and `log_loss` (nats per text) of classes and several labels, or `rmse` of
        ratings;
        `calibration` (see `calibrated`);
        `ceiling` (see `ceiling`) of ratings by several people, else None.
    """
    logits = table[[f"logit:{name}" for name in names]].to_numpy(dtype=float)
    outputs, labels, numbers = _read(logits, table["label"], kind)
    words = np.array([len(text.split()) for text in table["text"]])
    groups = pd.factorize(table["group"])[0]
    listed = list(names)[1:] if kind == "classes" and len(names) == 2 else list(names)
    agreement = {
        name: {
            "rho": with_interval(_rho, outputs[:, n], labels[:, n], groups),
            "auc": with_interval(concordance, outputs[:, n], labels[:, n], groups),
            "rho_length": _rho(outputs[:, n], words),
        }
        for n, name in enumerate(names)
        if name in listed
    }
    of_people = list(table["ratings"]) if kind == "ratings" else []
    return {
        "kind": kind,
        "texts": len(table),
        "groups": int(groups.max()) + 1,
        "agreement": agreement,
        **numbers,
        "calibration": calibrated(*_foretold(logits, labels, kind)),
        "ceiling": ceiling([np.asarray(row, dtype=float) for row in of_people]),
    }


def pairs_card(table: pd.DataFrame) -> dict[str, Any]:
    """The card of a reward model of preference pairs.

    Args:
        table: held-out pairs: `prompt`, `chosen`, `rejected` and the rewards `chosen_reward` and
            `rejected_reward`.

    Returns:
        `kind` (pairs), `pairs`; `accuracy`, with its interval over prompts, `log_loss` (nats per
        pair); `calibration`: `error` and `bins` (see `polyalign.train.calibration`);
        `rho_length`: Spearman's ρ of reward and number of words over all texts; `longer_chosen` and
        `longer_preferred`: the share of the pairs of unlike lengths in which people, or the model,
        prefer the longer one; `ceiling`: None, since nobody knows how far people agree.
    """
    margins = (table["chosen_reward"] - table["rejected_reward"]).to_numpy(dtype=float)
    found = calibration(margins)
    rewards = np.concatenate([table["chosen_reward"], table["rejected_reward"]]).astype(float)
    words = np.array([len(text.split()) for text in [*table["chosen"], *table["rejected"]]])
    longer = np.sign(words[: len(table)] - words[len(table) :])
    unlike = longer != 0
    right = (margins > 0) + 0.5 * (margins == 0)
    groups = pd.factorize(table["prompt"])[0]
    return {
        "kind": "pairs",
        "pairs": len(table),
        "accuracy": with_interval(lambda one, _: float(one.mean()), right, right, groups),
        "log_loss": found["log_loss"],
        "calibration": {"error": found["calibration_error"], "bins": reliability(margins)},
        "rho_length": _rho(rewards, words),
        "longer_chosen": _share(longer[unlike] > 0),
        "longer_preferred": _share(longer[unlike] * margins[unlike] > 0),
        "ceiling": None,
    }


def concordance(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of the pairs of texts with unlike labels that outputs order as the labels do.

    Ties of the outputs count half. For labels 0 and 1 this is the area under the ROC curve; nan
    where all labels are alike. From Kendall's τ_b, in n log n steps.
    """
    n = len(labels)
    of_labels, of_outputs = _tied(labels), _tied(outputs)
    pairs = n * (n - 1) / 2
    if pairs == of_labels:
        return float("nan")
    if pairs == of_outputs:
        return 0.5
    tau = float(kendalltau(outputs, labels).statistic)
    # τ_b divides by the geometric mean of the pairs untied on either side; Somers' D by one.
    somers = tau * np.sqrt((pairs - of_outputs) / (pairs - of_labels))
    return float((1 + somers) / 2)


def ceiling(ratings: Sequence[np.ndarray]) -> dict[str, float] | None:
    """The agreement that a perfect model would have with the mean of its raters.

    Texts with two ratings or more count. Their raters are divided into random halves; ρ of the two
    means gives the reliability of the mean of all raters (Spearman 1910 and Brown 1910), and its
    root is the ceiling of ρ (Spearman 1904). The ceiling of the concordance is that of two normal
    variables with this ρ.

    Args:
        ratings: the ratings of each text.

    Returns:
        `rho`, `auc`, `one_rater` (ρ of one rater with the mean of the others), `raters` (mean
        number), `texts`; None if too few texts have two ratings.
    """
    several = [row for row in ratings if len(row) > 1]
    if len(several) < BINS:
        return None
    rng = np.random.default_rng(0)
    halves, singles = [], []
    for _ in range(HALVES):
        drawn = [rng.permutation(row) for row in several]
        one = np.array([row[: len(row) // 2].mean() for row in drawn])
        other = np.array([row[len(row) // 2 : 2 * (len(row) // 2)].mean() for row in drawn])
        halves.append(_rho(one, other))
        rest = np.array([row[1:].mean() for row in drawn])
        singles.append(_rho(np.array([row[0] for row in drawn]), rest))
    half = float(np.mean(halves))
    sizes = np.array([len(row) for row in several])
    longer = float(sizes.mean() / (sizes // 2).mean())
    rho = float(np.sqrt(max(0.0, longer * half / (1 + (longer - 1) * half))))
    # Spearman's ρ of two normal variables is 6/π asin(r/2), and Kendall's τ 2/π asin(r).
    r = min(1.0, 2 * np.sin(np.pi * rho / 6))
    return {
        "rho": rho,
        "auc": float(0.5 + np.arcsin(r) / np.pi),
        "one_rater": float(np.mean(singles)),
        "raters": float(sizes.mean()),
        "texts": len(several),
    }


def calibrated(foretold: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """Whether a model's numbers are as large as what is found.

    Args:
        foretold: (n,) probabilities or ratings that the model gives.
        found: (n,) what people say: 0 or 1, or a rating.

    Returns:
        `error`: mean absolute difference between the two means of a bin, weighted by its size, in
        the units of `found`; `slope` of `found` on `foretold`, 1 if calibrated; `bins`: `texts`,
        `foretold`, `found` (means), of BINS parts of equal size in the order of `foretold`.
    """
    order = np.argsort(foretold, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    bins = [
        {
            "texts": len(part),
            "foretold": float(foretold[part].mean()),
            "found": float(found[part].mean()),
        }
        for part in parts
    ]
    gaps = [row["texts"] * abs(row["foretold"] - row["found"]) for row in bins]
    spread = float(foretold.var())
    slope = float(((foretold - foretold.mean()) * found).mean()) / spread if spread else 0.0
    return {"error": sum(gaps) / len(order), "slope": slope, "bins": bins}


def with_interval(
    measure: Callable[[np.ndarray, np.ndarray], float],
    outputs: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
) -> list[float]:
    """A measure with its 95 % interval, from resamples of whole groups: estimate, low, high."""
    rows = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        some = np.concatenate([rows[group] for group in rng.integers(len(rows), size=len(rows))])
        drawn.append(measure(outputs[some], labels[some]))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return [measure(outputs, labels), float(low), float(high)]


def _read(
    logits: np.ndarray, label: pd.Series, kind: str
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Outputs and labels (n, names), and the numbers that a kind of labels has alone."""
    if kind == "ratings":
        labels = label.to_numpy(dtype=float)[:, None]
        return logits, labels, {"rmse": float(np.sqrt(((logits - labels) ** 2).mean()))}
    if kind == "several":
        labels = np.array(label.tolist(), dtype=float)
        signed = np.where(labels == 1, -logits, logits)
        return logits, labels, {
            "accuracy": float((signed < 0).mean()),
            "log_loss": float(np.logaddexp(0, signed).sum(axis=1).mean()),
        }  # fmt: skip
    number = label.to_numpy(dtype=int)
    labels = (number[:, None] == np.arange(logits.shape[1])).astype(float)
    odds = np.stack(
        [
            logits[:, n] - logsumexp(np.delete(logits, n, axis=1), axis=1)
            for n in range(logits.shape[1])
        ],
        axis=1,
    )
    own = log_softmax(logits, axis=1)[np.arange(len(number)), number]
    right = logits.argmax(axis=1) == number
    return odds, labels, {"accuracy": float(right.mean()), "log_loss": float(-own.mean())}


def _foretold(logits: np.ndarray, labels: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """What is foretold and found: ratings, or of every label its probability and whether it is."""
    if kind == "ratings":
        return logits[:, 0], labels[:, 0]
    if kind == "several":
        return expit(logits).ravel(), labels.ravel()
    p = np.exp(log_softmax(logits, axis=1))
    # Of two classes the second says it all.
    return (p[:, 1], labels[:, 1]) if p.shape[1] == 2 else (p.ravel(), labels.ravel())


def _rho(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's ρ; 0 where one of them does not vary."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)


def _tied(numbers: np.ndarray) -> float:
    """Pairs of equal numbers."""
    counts = np.unique(numbers, return_counts=True)[1]
    return float((counts * (counts - 1) / 2).sum())


def _share(said: np.ndarray) -> float | None:
    return float(said.mean()) if len(said) else None
