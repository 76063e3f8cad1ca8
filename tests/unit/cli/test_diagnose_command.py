"""`polyalign diagnose`: intervals, support and warnings of a palette or a λ on a table."""

import json

import numpy as np
import pandas as pd
import pytest

from polyalign import cli


@pytest.fixture
def table(tmp_path):
    draws = np.random.default_rng(0)
    rewards = draws.normal(size=(60, 1, 2)) + draws.normal(size=(60, 12, 2))
    frame = pd.DataFrame(rewards.reshape(-1, 2), columns=["humor", "helpful"])
    frame.insert(0, "prompt", np.repeat([f"question {i}" for i in range(60)], 12))
    frame["split"] = np.where(np.arange(720) < 480, "fit", "test")
    path = tmp_path / "rewards.csv"
    frame.to_csv(path, index=False)
    return path


def run(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def tilted(frame, lam):
    """Levels (prompts, 2) of the policy that λ tilts, by enumeration."""
    weight = np.exp(frame[["humor", "helpful"]].to_numpy() @ lam)
    total = pd.Series(weight).groupby(frame["prompt"].to_numpy()).transform("sum").to_numpy()
    return (frame[["humor", "helpful"]].mul(weight / total, axis=0)).groupby(frame["prompt"]).sum()


def test_a_lam_is_judged_by_the_levels_that_it_gives(capsys, table):
    given = ("--lam", "humor=0.6", "--lam", "helpful=0", "--resamples", "0")
    status, out, err = run(capsys, "diagnose", table, *given, "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    frame = pd.read_csv(table)
    levels = tilted(frame, np.array([0.6, 0.0]))
    assert found["lam"] == [0.6, 0.0]
    assert found["realised"] == pytest.approx(levels.mean().tolist(), abs=1e-7)
    # The delta method divides by N, the sample variance by N - 1.
    se = levels.std(ddof=0) / np.sqrt(60)
    assert found["interval"]["level_se"] == pytest.approx(se.tolist(), rel=1e-6)
    assert found["interval"]["lam_low"] == found["lam_train"] == [None, None]
    assert found["test"] is None
    text = run(capsys, "diagnose", table, *given)[1]
    assert "lam low" not in text
    assert "target" not in text.splitlines()[1]


def test_a_palette_has_intervals_margins_and_levels_on_unseen_prompts(capsys, table):
    targets = ("--target", "humor=mean+0.3sd", "--target", "helpful=mean", "--resamples", "40")
    found = json.loads(run(capsys, "diagnose", table, *targets, "--split", "fit", "--json")[1])
    solved = json.loads(run(capsys, "solve", table, *targets[:4], "--split", "fit", "--json")[1])
    assert found["lam"] == pytest.approx(solved["lam"])
    assert found["n_prompts"] == 40
    for low, lam, high in zip(
        found["interval"]["lam_low"], found["lam"], found["interval"]["lam_high"], strict=True
    ):
        assert low <= lam <= high
    frame = pd.read_csv(table)
    unseen = tilted(frame[frame["split"] == "test"], np.array(found["lam"]))
    assert found["test"]["expected"] == pytest.approx(unseen.mean().tolist())
    assert found["test"]["se"] == pytest.approx((unseen.std(ddof=1) / np.sqrt(20)).tolist())
    base, target = np.array(found["base"]), np.array(found["target"])
    for share, status in ((0.999, 0), (1.001, 3)):
        at = base + share * found["edges"]["feasible"] * (target - base)
        asked = [
            f"--target={n}={float(level)!r}" for n, level in zip(found["values"], at, strict=True)
        ]
        assert run(capsys, "solve", table, *asked, "--split", "fit")[0] == status
    text = run(capsys, "diagnose", table, *targets, "--split", "fit")[1]
    assert "on test" in text
    assert f"suffice: about {found['budget']['suffices']}" in text


def test_what_is_wrong_is_warned_of(capsys, table):
    targets = ("--target", "humor=mean+0.3sd", "--resamples", "0")
    assert "warning" not in run(capsys, "diagnose", table, *targets)[1]
    solved = run(capsys, "diagnose", table, *targets, "--min-ess", "11.9")[1]
    assert "warning: unsupported" in solved
    status, out, _ = run(capsys, "diagnose", table, "--target", "humor=99")
    assert status == 3
    assert "out of reach" in out


def test_joint_scope_says_what_it_may_mean(capsys, table):
    out = run(
        capsys, "diagnose", table, "--lam", "humor=0.5", "--scope", "joint", "--resamples", "0"
    )[1]
    assert "caution: scope joint weighs prompts too" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lam", "humor=1", "--resamples", "1"), "--resamples: 1; expected 0, or 2 and more"),
        (("--target", "humor=q0.7"), "write q70"),
        (("--target", "humor=q60", "--min-ess", "-1"), "--min-ess: -1.0"),
        ((), "no λ given"),
    ],
)
def test_bad_input_of_diagnose_is_one_line(capsys, table, arguments, message):
    status, out, err = run(capsys, "diagnose", table, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
