"""Tables solved batch by batch give what they give in memory."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mapdata import skewed

from polyalign.data.rewards_table import read_rewards
from polyalign.errors import InputError
from polyalign.map.base import Base
from polyalign.map.dual import solve
from polyalign.map.palette import parse_target
from polyalign.map.problem import pose
from polyalign.palettes import streamed as streamed_pool
from polyalign.palettes.streamed import Stream, solve_parquet


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(streamed_pool, "BATCH_ROWS", 97)
    monkeypatch.setattr(streamed_pool, "SAMPLE_ROWS", 300)
    rewards, groups = skewed(250, 9, 3, 9)
    keep = np.random.default_rng(0).random(len(rewards)) < 0.9
    rewards, groups = rewards[keep] + [100.0, 0.0, -5.0], groups[keep]
    path = tmp_path / "rewards.parquet"
    columns = {name: rewards[:, i] for i, name in enumerate("abc")}
    ids = [f"p{g:04d}" for g in groups]
    split = np.where(groups % 3 == 0, "test", "fit")
    pq.write_table(
        pa.table({"prompt_id": ids, "split": split, **columns}), path, row_group_size=400
    )
    return path, rewards, groups


@pytest.mark.parametrize("scope", ["prompt", "joint"])
@pytest.mark.parametrize("split", ["all", "fit"])
def test_same_answer_as_in_memory(table, scope, split):
    path, rewards, groups = table
    keep = groups % 3 > 0 if split == "fit" else np.ones(len(groups), dtype=bool)
    rewards, groups = rewards[keep], groups[keep]
    levels = {"a": "q65", "b": "mean+0.2sd", "c": -5.5}
    target = parse_target(levels, rewards, list("abc"), groups, scope=scope)
    memory = solve(rewards, target, groups=groups, scope=scope, tolerance=1e-12)
    streamed = solve_parquet(path, levels, scope=scope, split=split, tolerance=1e-12)
    np.testing.assert_allclose(streamed.target, target, rtol=1e-12)
    np.testing.assert_allclose(streamed.lam, memory.lam, atol=1e-8)
    np.testing.assert_allclose(streamed.realised, memory.realised, atol=1e-8)
    for name in ("kl", "ess", "max_weight", "dual"):
        assert getattr(streamed, name) == pytest.approx(getattr(memory, name), rel=1e-8), name
    assert (streamed.n_samples, streamed.n_prompts) == (memory.n_samples, memory.n_prompts)
    assert (streamed.verdict, streamed.scope) == (memory.verdict, scope)
    assert streamed.kkt <= 1e-12


def test_moments_are_those_of_memory(table):
    path, rewards, groups = table
    for scope in ("prompt", "joint"):
        here, there = Stream(path, list("abc"), scope), Base(rewards, groups, scope)
        np.testing.assert_allclose(here.center, there.center, rtol=1e-12)
        np.testing.assert_allclose(here.scale, there.scale, rtol=1e-9)
        assert here.max_kl == pytest.approx(there.max_kl)
        lam = np.array([0.5, 0.1, 2.0])
        for mine, other in zip(here.moments(lam), there.moments(lam), strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-9)


@pytest.mark.parametrize("scope", ["prompt", "joint"])
def test_slack_and_conflict_are_those_of_memory(table, scope):
    path, rewards, groups = table
    assert Stream(path, ["a"], "auto").scope == "prompt"
    for levels in ({"a": "mean+0.3sd", "b": "mean", "c": -5.5}, {"a": 1e3, "b": 1e3, "c": -9.0}):
        target = parse_target(levels, rewards, list("abc"), groups, scope=scope)
        memory = solve(rewards, target, groups=groups, scope=scope, names=list("abc"), slack=True)
        streamed = solve_parquet(path, levels, scope=scope, slack=True)
        assert streamed.slack == pytest.approx(memory.slack, abs=1e-8)
        assert (streamed.verdict, streamed.conflict) == (memory.verdict, memory.conflict)
        assert streamed.message == memory.message
    assert streamed.to_dict()["lam"] == [None] * 3


def test_prompts_are_told_apart_by_their_text_where_there_is_no_id(table, tmp_path):
    path, _, _ = table
    with_id = pq.read_table(path)
    names = ["prompt" if name == "prompt_id" else name for name in with_id.column_names]
    renamed = tmp_path / "renamed.parquet"
    pq.write_table(with_id.rename_columns(names), renamed)
    one, two = (solve_parquet(p, {"a": "mean+0.3sd"}) for p in (path, renamed))
    assert one.scope == two.scope == "prompt"
    np.testing.assert_array_equal(one.lam, two.lam)


def test_what_was_read_does_not_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(streamed_pool, "BATCH_ROWS", 10_000)
    path = tmp_path / "long.parquet"
    values = np.random.default_rng(0).normal(size=1_000_000)
    pq.write_table(pa.table({"a": values}), path, row_group_size=50_000)
    opened = Stream(path, ["a"], "joint")
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in opened._pieces(["a"])]
    assert max(held) < 0.4 * values.nbytes


def test_bad_tables(table, tmp_path):
    path, _, _ = table
    with pytest.raises(InputError, match="no column d"):
        Stream(path, ["d"], "joint")
    with pytest.raises(InputError, match="no rows in split"):
        Stream(path, ["a"], "joint", split="other")
    mixed = tmp_path / "mixed.parquet"
    pq.write_table(pa.table({"prompt_id": ["x", "y", "x"], "a": [1.0, 2.0, 3.0]}), mixed)
    assert Stream(mixed, ["a"], "joint").n_prompts == 2
    with pytest.raises(InputError, match="not adjacent"):
        Stream(mixed, ["a"], "prompt")
    gap = tmp_path / "gap.parquet"
    pq.write_table(pa.table({"a": [1.0, np.nan]}), gap)
    with pytest.raises(InputError, match="row 1"):
        Stream(gap, ["a"], "joint")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="restore it"):
        Stream(broken, ["a"], "joint")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("prompt", "text"),
        ("prompt_id", "text"),
        ("prompt_id", "number"),
        ("prompt", "beside lists"),
    ],
)
@pytest.mark.parametrize("statistics", [True, False])
def test_a_missing_prompt_or_id_is_refused_as_in_memory(tmp_path, column, statistics, kind):
    """It would join the prompt before it. Not every file says how many cells are missing."""
    rewards, groups = skewed(40, 9, 1, 3)
    numbers = kind == "number"
    ids = [float(g) if numbers else f"p{g:03d}" for g in groups]
    columns = {"prompt": [f"text {g}" for g in groups], "prompt_id": ids, "a": rewards[:, 0]}
    if kind == "beside lists":
        columns = {"tokens": [[1, 2]] * len(ids), **columns}
    missing = dict.fromkeys(range(90, 99), float("nan") if numbers else None)
    holes = [missing.get(row, cell) for row, cell in enumerate(columns[column])]
    path = tmp_path / "holes.parquet"
    pq.write_table(
        pa.table(columns | {column: holes}), path, row_group_size=50, write_statistics=statistics
    )
    with pytest.raises(InputError) as memory:
        read_rewards(path)
    with pytest.raises(InputError) as streamed:
        solve_parquet(path, {"a": "mean+0.2sd"})
    assert str(streamed.value) == str(memory.value)
    assert "in row 90 (9 such rows)" in str(streamed.value)
    pq.write_table(pa.table(columns), path, write_statistics=statistics)
    assert solve_parquet(path, {"a": "mean+0.2sd"}).status == "solved"


def test_other_splits_are_refused_where_they_are_asked_for(table):
    path, _, _ = table
    found = pq.read_table(path)
    renamed = ["train" if split == "fit" else split for split in found["split"].to_pylist()]
    pq.write_table(found.set_column(1, "split", pa.array(renamed)), path)
    assert solve_parquet(path, {"a": "mean+0.2sd"}).status == "solved"
    with pytest.raises(InputError, match="the column 'split' says 'train'; expected fit"):
        solve_parquet(path, {"a": "mean+0.2sd"}, split="fit")


@pytest.mark.parametrize("scope", ["prompt", "joint"])
@pytest.mark.parametrize(
    "levels",
    [
        {"a": "<= mean-0.3sd", "b": "between mean and q65", "share(c > -5)": 0.6},
        {"a": "maximise within 0.2 nats", "c": "<= mean", "share(b < 0)": "<= 0.5"},
        {"a": "maximise within 0.001 nats", "b": "q70"},
        {"a": "max(q40, mean)", "b": "max(q65, mean)", "c": ">= mean"},
    ],
)
def test_words_are_those_of_memory(table, scope, levels):
    path, rewards, groups = table
    columns = dict(zip("abc", rewards.T, strict=True))
    posed = pose(levels, columns, groups, scope)
    memory, streamed = posed.solve(), solve_parquet(path, levels, scope=scope)
    assert (streamed.status, streamed.values) == (memory.status, memory.values)
    for name in ("target", "base", "lam", "realised"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(memory, name), atol=1e-6)
    if memory.status == "solved":
        assert streamed.kkt <= 1e-8


@pytest.fixture
def topics(table, tmp_path):
    """The table with two columns that tell groups: texts, of which one is missing, and numbers."""
    path, rewards, groups = table
    found = pq.read_table(path)
    texts = np.array(["harm", "help", "other"], dtype=object)[groups % 3]
    texts[groups == 7] = None
    numbers = pa.array(groups % 2)
    found = found.append_column("topic", pa.array(texts)).append_column("half", numbers)
    pq.write_table(found, tmp_path / "topics.parquet", row_group_size=400)
    columns = dict(zip("abc", rewards.T, strict=True))
    return tmp_path / "topics.parquet", {**columns, "topic": texts, "half": groups % 2}, groups


@pytest.mark.parametrize("scope", ["prompt", "joint", "auto"])
@pytest.mark.parametrize(
    "levels",
    [
        {"a[topic=harm]": "q60", "b": "mean", "c[half=1]": "<= mean-0.1sd"},
        {"a[topic=help]": "between mean+0.1sd and q70", "share(b > 0)[topic=harm]": 0.5},
        {"share(b > 0)[topic=harm]": "mean", "c": "maximise within 0.1 nats"},
    ],
)
def test_groups_of_prompts_are_those_of_memory(topics, scope, levels):
    path, columns, groups = topics
    memory = pose(levels, columns, groups, scope).solve()
    streamed = solve_parquet(path, levels, scope=scope)
    assert (streamed.status, streamed.values) == (memory.status, memory.values)
    assert streamed.scope == memory.scope
    for name in ("target", "base", "lam", "realised"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(memory, name), atol=1e-6)
    assert memory.status == "solved"
    assert np.abs(memory.lam).max() > 0.01
    assert streamed.kkt <= 1e-8


@pytest.mark.parametrize(
    ("levels", "fault"),
    [
        ({"a[topic=ham]": 1.0}, "no row has 'ham' in the column 'topic'"),
        ({"a[topics=harm]": 1.0}, "no column topics"),
        ({"a[b=1]": 1.0}, "the column 'b' tells groups of prompts and holds double"),
        ({"a[topic=harm]": "maximise within 0.1 nats"}, "cannot be maximised"),
        ({"a[parts=x]": 1.0}, "says 'x' for some rows of a prompt and not for all"),
    ],
)
def test_groups_that_are_none_are_refused_as_in_memory(topics, tmp_path, levels, fault):
    path, _, groups = topics
    found = pq.read_table(path)
    parts = np.where(np.arange(len(groups)) % 2, "x", "y")
    pq.write_table(found.append_column("parts", pa.array(parts)), tmp_path / "parts.parquet")
    with pytest.raises(InputError, match=fault):
        solve_parquet(tmp_path / "parts.parquet", levels)


def test_a_share_of_cells_that_are_no_numbers_is_refused(table, tmp_path):
    path = tmp_path / "broken.parquet"
    spoilt = pq.read_table(table[0]).to_pandas()
    spoilt.loc[5, "a"] = np.nan
    spoilt.to_parquet(path)
    with pytest.raises(InputError, match="value 'a' is None in row 5"):
        solve_parquet(path, {"share(a > 0)": 0.5})
