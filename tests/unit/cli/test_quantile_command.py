"""`polyalign quantile`: levels as quantiles and back."""

import json

import numpy as np
import pandas as pd
import pytest

from polyalign import cli
from polyalign.map.palette import weighted_quantile
from polyalign.palettes.table_commands import places, quantile_of


@pytest.fixture
def table(tmp_path):
    draws = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "prompt": np.repeat([f"question {i}" for i in range(20)], 9),
            "humor": draws.normal(2, 3, 180),
            "rare": np.tile([0.0] * 8 + [1.0], 20),
        }
    )
    path = tmp_path / "rewards.csv"
    frame.to_csv(path, index=False)
    return path


def run(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("asked", ["q80", "q0", "q100", "q33.3", "mean+0.4sd", "-20%", "1.5"])
def test_each_way_to_write_a_level_gives_the_level_back(capsys, table, asked):
    def ask(level):
        out = run(capsys, "quantile", table, "--target", f"humor={level}", "--json")[1]
        return json.loads(out)

    found = ask(asked)
    column = pd.read_csv(table)["humor"]
    (level,) = found["level"]
    assert found["below"] == [pytest.approx((column < level).mean())]
    assert found["at_or_below"] == [pytest.approx((column <= level).mean())]
    for way in (
        f"q{100 * found['quantile'][0]!r}",
        f"mean{found['in_sd'][0]:+.17g}sd",
        f"{found['in_per_cent'][0]:+.17g}%",
    ):
        assert ask(way)["level"] == [pytest.approx(level, abs=1e-9)]
    if asked.startswith("q"):
        assert 100 * found["quantile"][0] == pytest.approx(float(asked[1:]))


def test_of_equal_rewards_the_shares_below_and_at_or_below_differ(capsys, table):
    out = run(capsys, "quantile", table, "--target", "rare=0", "--json")[1]
    found = json.loads(out)
    assert (found["below"], found["quantile"]) == ([0.0], [0.0])
    assert found["at_or_below"] == [pytest.approx(8 / 9)]


def test_outside_the_rewards_there_is_no_quantile(capsys, table):
    status, out, _ = run(capsys, "quantile", table, "--target", "humor=99", "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["quantile"], found["at_or_below"]) == ([None], [1.0])
    text = run(capsys, "quantile", table, "--target", "humor=-99")[1]
    assert text.splitlines()[1].split()[3:6] == ["0", "0", "-"]


def test_the_inverse_of_a_weighted_quantile():
    draws = np.random.default_rng(1)
    sample, weight = draws.normal(size=40), draws.uniform(size=40)
    weight[:5] = 0
    for share in np.linspace(0, 1, 23):
        level = weighted_quantile(sample, weight, share)
        assert quantile_of(sample, weight, level) == pytest.approx(share, abs=1e-12)


def test_prompts_count_alike_in_scope_prompt():
    """Two prompts, of one and of three candidates: the one candidate is half of the policy."""
    rewards, groups = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 1, 1])
    assert places(rewards, groups, np.array([0.5]), scope="prompt").below[0] == pytest.approx(0.5)
    assert places(rewards, groups, np.array([0.5]), scope="joint").below[0] == pytest.approx(0.25)
