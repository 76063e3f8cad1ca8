"""Cards of reward models: every number against another way to compute it."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import log_loss, roc_auc_score

from polyalign.train import card
from polyalign.train.calibration import calibration


def brute_force(outputs, labels) -> float:
    """Share of the pairs of unlike labels in their order, pair by pair."""
    pairs = [
        (outputs[i] - outputs[j]) * (labels[i] - labels[j])
        for i, j in combinations(range(len(labels)), 2)
        if labels[i] != labels[j]
    ]
    return float(np.mean([1.0 if one > 0 else 0.5 if one == 0 else 0.0 for one in pairs]))


@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_concordance_is_that_of_all_pairs(levels: int):
    rng = np.random.default_rng(levels)
    labels = rng.integers(levels, size=60).astype(float)
    outputs = np.round(labels + levels * rng.normal(size=60), 1 if levels > 2 else 0)
    found = card.concordance(outputs, labels)
    assert found == pytest.approx(brute_force(outputs, labels), abs=1e-12)
    if levels == 2:
        assert found == pytest.approx(roc_auc_score(labels, outputs), abs=1e-12)
    assert card.concordance(np.ones(60), labels) == 0.5
    assert np.isnan(card.concordance(outputs, np.ones(60)))


@pytest.mark.parametrize("raters", [3, 20])
def test_the_ceiling_is_the_agreement_of_a_perfect_model(raters: int):
    """Of ratings that are the truth with noise, against the truth itself."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=4000)
    ratings = truth[:, None] + 2 * rng.normal(size=(4000, raters))
    found = card.ceiling(list(ratings))
    assert found is not None
    mean = ratings.mean(axis=1)
    assert found["rho"] == pytest.approx(card._rho(truth, mean), abs=0.02)
    assert found["auc"] == pytest.approx(card.concordance(truth, mean), abs=0.02)
    one = card._rho(ratings[:, 0], ratings[:, 1:].mean(axis=1))
    assert found["one_rater"] == pytest.approx(one, abs=0.03)
    assert (found["raters"], found["texts"]) == (raters, 4000)


def test_one_rating_a_text_sets_no_ceiling():
    assert card.ceiling([np.array([1.0])] * 50) is None
    assert card.ceiling([]) is None


def test_calibration_compares_what_is_foretold_with_what_is_found():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=20000)
    found = (rng.uniform(size=20000) < truth).astype(float)
    honest = card.calibrated(truth, found)
    assert honest["error"] == pytest.approx(0, abs=0.02)
    assert honest["slope"] == pytest.approx(1, abs=0.03)
    shifted = card.calibrated(truth / 2 + 0.5, found)
    # The gap is (1 - p)/2, whose mean is a quarter.
    assert shifted["error"] == pytest.approx(0.25, abs=0.01)
    assert shifted["slope"] == pytest.approx(2, abs=0.05)
    assert sum(row["texts"] for row in shifted["bins"]) == 20000


def rated(n: int, groups: int) -> pd.DataFrame:
    """Texts of a group have nearly the same label and output."""
    rng = np.random.default_rng(2)
    group = np.arange(n) % groups
    label = rng.normal(size=groups)[group]
    output = label + rng.normal(size=groups)[group]
    return pd.DataFrame(
        {
            "text": ["a " * (1 + number) for number in group],
            "label": label,
            "ratings": [[one - 1, one + 1] for one in label],
            "group": group.astype(str),
            "logit:mood": output,
        }
    )


def test_intervals_count_groups_and_not_texts():
    wide, narrow = (
        card.outputs_card(rated(600, groups), "ratings", ["mood"])["agreement"]["mood"]["rho"]
        for groups in (30, 600)
    )
    spread = [high - low for _, low, high in (wide, narrow)]
    assert spread[0] > 3 * spread[1]
    assert wide[1] < wide[0] < wide[2]
    # Fisher's transformation of the independent texts.
    frame = rated(600, 600)
    low, high = pearsonr(frame["label"], frame["logit:mood"]).confidence_interval()
    assert spread[1] == pytest.approx(high - low, rel=0.35)


def test_a_card_of_ratings():
    frame = rated(300, 300)
    found = card.outputs_card(frame, "ratings", ["mood"])
    assert (found["kind"], found["texts"], found["groups"]) == ("ratings", 300, 300)
    gap = frame["logit:mood"] - frame["label"]
    assert found["rmse"] == pytest.approx(np.sqrt((gap**2).mean()))
    words = frame["text"].str.split().str.len()
    assert found["agreement"]["mood"]["rho_length"] == pytest.approx(
        card._rho(frame["logit:mood"], words)
    )
    assert found["ceiling"]["raters"] == 2


def test_a_card_of_classes_is_that_of_scikit_learn():
    rng = np.random.default_rng(3)
    logits, label = rng.normal(size=(200, 3)), rng.integers(3, size=200)
    logits[np.arange(200), label] += 1.5
    names = ["x", "y", "z"]
    frame = pd.DataFrame({"text": "a b", "label": label, "group": range(200)})
    frame[[f"logit:{name}" for name in names]] = logits
    found = card.outputs_card(frame, "classes", names)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found["log_loss"] == pytest.approx(log_loss(label, p))
    assert found["accuracy"] == pytest.approx((p.argmax(axis=1) == label).mean())
    for n, name in enumerate(names):
        auc = roc_auc_score(label == n, p[:, n])
        assert found["agreement"][name]["auc"][0] == pytest.approx(auc, abs=1e-12)
        assert found["agreement"][name]["rho_length"] == 0
    assert found["ceiling"] is None


def test_a_card_of_several_labels():
    rng = np.random.default_rng(4)
    logits, label = rng.normal(size=(100, 2)), rng.integers(2, size=(100, 2))
    frame = pd.DataFrame({"text": "a", "label": label.tolist(), "group": range(100)})
    frame[["logit:x", "logit:y"]] = logits
    found = card.outputs_card(frame, "several", ["x", "y"])
    p = 1 / (1 + np.exp(-logits))
    assert found["accuracy"] == pytest.approx(((p > 0.5) == label).mean())
    expected = sum(log_loss(label[:, n], p[:, n]) for n in range(2))
    assert found["log_loss"] == pytest.approx(expected)


def test_a_card_of_pairs_says_what_length_does():
    frame = pd.DataFrame(
        {
            "prompt": ["p", "q", "r", "s"],
            "chosen": ["a b c", "a b", "a", "a b"],
            "rejected": ["a", "a", "a b", "c d"],
            "chosen_reward": [3.0, 2.0, 1.0, 5.0],
            "rejected_reward": [1.0, 1.5, 2.0, 0.0],
        }
    )
    found = card.pairs_card(frame)
    margins = (frame["chosen_reward"] - frame["rejected_reward"]).to_numpy()
    assert found["accuracy"][0] == calibration(margins)["accuracy"] == 0.75
    assert found["calibration"]["error"] == calibration(margins)["calibration_error"]
    assert found["longer_chosen"] == pytest.approx(2 / 3)
    assert found["longer_preferred"] == 1
    assert found["rho_length"] > 0
