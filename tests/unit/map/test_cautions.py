"""Values that no λ can change, and quantiles that ask for no rise, are said to be such."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyalign.map.base import Base
from polyalign.map.cautions import cautions
from polyalign.map.dual import solve
from polyalign.map.palette import parse_target
from polyalign.palettes.streamed import Stream

NAMES = ["free", "fixed", "topic", "sparse"]


def table(prompts: int, candidates: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rewards: one that varies, a constant, one of the prompt alone, one that is mostly 0."""
    draws = np.random.default_rng(0)
    n = prompts * candidates
    groups = np.repeat(np.arange(prompts), candidates)
    rewards = np.column_stack(
        [
            draws.normal(size=n),
            np.full(n, 0.1),
            draws.normal(size=prompts)[groups] / 3,
            np.where(np.arange(n) % 11 == 0, 0.3, 0.0),
        ]
    )
    return rewards + offset, groups


def said(rewards, groups, scope, levels, tmp_path=None):
    if tmp_path is None:
        base = Base(rewards, groups, scope)
    else:
        columns = {"prompt_id": groups.astype(str)} | dict(zip(NAMES, rewards.T, strict=True))
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        base = Stream(tmp_path / "t.parquet", NAMES, scope)
    asked = parse_target(levels, rewards, NAMES, groups, scope=scope)
    return cautions(base, levels, asked, NAMES)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e6])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_each_is_said_once_and_nothing_else(tmp_path, scope, streamed, offset):
    """A value of the prompt alone cannot be chosen; over all samples it can (joint)."""
    rewards, groups = table(60, 10, offset)
    levels = {"free": "q70", "fixed": "q70", "topic": "mean", "sparse": "q70"}
    found = said(rewards, groups, scope, levels, tmp_path if streamed else None)
    expected = ["fixed is ", *(["topic is the same"] if scope == "prompt" else []), "sparse: q70 "]
    assert [sentence[: len(start)] for sentence, start in zip(found, expected, strict=True)] == (
        expected
    )
    assert "raises nothing; to raise it write +10% or mean+0.5sd" in found[-1]
    # What the sentences say is what solving finds.
    asked = parse_target(levels, rewards, NAMES, groups, scope=scope)
    lam = solve(rewards, asked, groups=groups, scope=scope).lam
    silent = [name for name, weight in zip(NAMES, lam, strict=True) if weight == 0]
    assert set(silent) >= {sentence.split()[0].strip(":") for sentence in found}


def test_what_the_sentence_advises_raises_the_value():
    rewards, groups = table(60, 10)
    for level in ("+10%", "mean+0.5sd"):
        levels = {"free": "mean", "fixed": "mean", "topic": "mean", "sparse": level}
        found = said(rewards, groups, "prompt", levels)
        assert not any(sentence.startswith("sparse") for sentence in found)
        asked = parse_target(levels, rewards, NAMES, groups, scope="prompt")
        assert solve(rewards, asked, groups=groups, scope="prompt").lam[3] > 0


def test_one_candidate_a_prompt_has_nothing_within_prompts_to_say():
    rewards, groups = table(300, 1)
    levels = dict.fromkeys(NAMES, "q70")
    fixed, sparse = said(rewards, groups, "auto", levels)
    assert fixed.startswith("fixed is 0.1 for every sample")
    assert sparse.startswith("sparse: q70 is 0, and the base policy's mean is 0.0")


def test_one_candidate_that_differs_is_enough():
    """No threshold hides a value that can be chosen, however rarely."""
    rewards, groups = table(60, 10)
    rewards[5, 1] += 1e-6  # of 0.1
    rewards[7, 2] += 1e-6
    found = said(rewards, groups, "prompt", dict.fromkeys(NAMES, "mean"))
    assert found == []
