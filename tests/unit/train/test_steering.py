"""RLOO, GRPO and PPO whose λ is steered end at the levels of the palette, from a wrong λ."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from enumerable import LAM, REWARDS, SAMPLING, TEMPLATE, distribution, reward_table
from steered import NAMES, exact_aim, misses
from trainers import assert_same_but_for_rounding, run_in, same_weights, train

from polyalign.errors import InputError
from polyalign.train import rl
from polyalign.train.closed_loop import LEVELS_MET, STEPS_USED, ClosedLoop
from polyalign.train.inputs import TrainingInputs

MISS, NATS = 0.02, 0.05  # what the closed loop must reach: sd of the base model, KL in nats
LONG = {
    "ppo": {"steps": 400, "batch_size": 512, "learning_rate": 1e-3, "value_learning_rate": 1e-2,
            "log_every": 100},
    "rloo": {"steps": 160, "batch_size": 256, "generations": 16, "learning_rate": 3e-3,
             "log_every": 40},
}  # fmt: skip
LONG["grpo"] = LONG["rloo"]


def steered(algorithm, base, folder, aim, **changes):
    """Record of a training that is steered to an aim."""
    lam = dict(zip(aim.values, aim.start.tolist(), strict=True))
    return train(algorithm, base, folder, lam=lam, aim=aim, **changes)


def of_part(aim, kept):
    """The aim without the other values."""
    return replace(
        aim, values=[NAMES[n] for n in kept], start=aim.start[kept], target=aim.target[kept],
        low=aim.low[kept], high=aim.high[kept], curvature=aim.curvature[np.ix_(kept, kept)],
    )  # fmt: skip


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_lands_on_the_palette_from_a_wrong_lambda(base, tmp_path, algorithm, factor):
    start = distribution(base)
    record = steered(algorithm, base, tmp_path, exact_aim(start, factor), **LONG[algorithm])
    miss, nats = misses(start, distribution(tmp_path / "model"))
    print(f"{algorithm}, {factor} × λ: {miss:.4f} sd, {nats:.4f} nats, {record['closed_loop']}")
    assert miss <= MISS
    assert nats <= NATS
    found = record["closed_loop"]["lam"]
    assert [found[name] / LAM[name] for name in NAMES] == pytest.approx([1, 1], abs=0.05)


def test_grpo_lands_on_the_levels_too(base, tmp_path):
    """Its optimum is not quite p_λ, so that it needs another λ."""
    start = distribution(base)
    steered("grpo", base, tmp_path, exact_aim(start, 0.5), **LONG["grpo"])
    miss, nats = misses(start, distribution(tmp_path / "model"))
    assert miss <= 0.1
    assert nats <= NATS


def frozen(self, level, pending):
    """A loop that never moves λ."""
    self.path.append(self.lam.tolist())
    self.levels.append(level.tolist())
    return {}


UPDATE = ClosedLoop.update
MUTATIONS = {
    "λ frozen": frozen,
    "wrong sign of the dual step": lambda loop, level, pending: UPDATE(
        loop, 2 * loop.aim.target - level, -pending
    ),
    "a dropped value": None,
}


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_misses_the_palette_if_it_is_broken(base, tmp_path, monkeypatch, algorithm, name):
    start = distribution(base)
    aim = exact_aim(start, 0.5)
    if MUTATIONS[name] is None:
        aim = of_part(aim, [0])
    else:
        monkeypatch.setattr(ClosedLoop, "update", MUTATIONS[name])
    few = {"steps": 80, "batch_size": 128, "learning_rate": 3e-3}
    steered(algorithm, base, tmp_path, aim, **{**LONG[algorithm], **few})
    miss, nats = misses(start, distribution(tmp_path / "model"))
    assert miss > 5 * MISS
    assert nats > NATS


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_where_a_reward_has_its_zero_does_not_matter(base, tmp_path, algorithm):
    """As λ moves, so does λ times the level; PPO's critic must not have to follow that."""
    aim = exact_aim(distribution(base), 0.5)
    levels = {name: getattr(aim, name) + 20 for name in ("target", "low", "high")}
    moved = {
        name: lambda prompts, texts, score=score: score(prompts, texts) + 20
        for name, score in REWARDS.items()
    }
    few = {"steps": 24, "learning_rate": 3e-3, "batch_size": 64}
    steered(algorithm, base, tmp_path / "one", aim, **few)
    steered(algorithm, base, tmp_path / "other", replace(aim, **levels), rewards=moved, **few)
    assert_same_but_for_rounding(base, tmp_path / "one/model", tmp_path / "other/model", 2e-3)


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo"])
def test_what_is_pending_is_what_the_reward_still_asks(base, tmp_path, monkeypatch, algorithm):
    """At the first batch the policy is the base: Cov(r, λ·r) within a prompt, by enumeration."""
    seen = []

    def spy(loop, level, pending):
        seen.append(pending)
        return UPDATE(loop, level, pending)

    monkeypatch.setattr(ClosedLoop, "update", spy)
    start = distribution(base)
    aim, table = exact_aim(start, 1.0), reward_table()
    few = {"steps": 4, "learning_rate": 1e-9, "batch_size": 4096}
    steered(algorithm, base, tmp_path, aim, **{**LONG[algorithm], **few})
    apart = table - np.einsum("xn,xnk->xk", start, table)[:, None]
    covariance = np.einsum("xn,xnk,xnj->kj", start, apart, apart) / len(start)
    np.testing.assert_allclose(seen[0], covariance @ aim.start, rtol=0.1)


@pytest.mark.parametrize(
    ("algorithm", "settings", "killed_at"),
    [
        ("ppo", {"steps": 16, "save_every": 3, "log_every": 2}, 3),
        ("rloo", {"steps": 8, "save_every": 3}, 5),
        ("rloo", {"steps": 16, "save_every": 3, "passes": 2}, 5),
        ("grpo", {"steps": 8, "save_every": 3}, 5),
    ],
)
def test_killed_and_resumed_is_steered_as_if_uninterrupted(
    base, tmp_path, monkeypatch, algorithm, settings, killed_at
):
    aim = exact_aim(distribution(base), 0.5)
    whole = steered(algorithm, base, tmp_path / "whole", aim, **settings)
    calls = []
    original = REWARDS["apt"]

    def dies(prompts, responses):
        calls.append(1)
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        return original(prompts, responses)

    monkeypatch.setitem(REWARDS, "apt", dies)
    with pytest.raises(KeyboardInterrupt):
        steered(algorithm, base, tmp_path / "killed", aim, **settings)
    record = steered(algorithm, base, tmp_path / "killed", aim, **settings)
    assert record["resumed_from"] is not None
    assert record["closed_loop"] == whole["closed_loop"]
    batches = settings["steps"] // (4 if algorithm == "ppo" else settings.get("passes", 1))
    assert whole["closed_loop"]["batches"] == batches
    assert whole["closed_loop"]["averaged"] == batches // 4
    assert same_weights(tmp_path / "whole/model", tmp_path / "killed/model")
    columns = [f"{what}/{name}" for what in ("lam", "gap") for name in NAMES]
    one, other = (
        pd.read_csv(tmp_path / name / "model/metrics.csv")[columns] for name in ("whole", "killed")
    )
    pd.testing.assert_frame_equal(one, other)
    assert one["lam/sweet"].iloc[0] != one["lam/sweet"].iloc[-1]


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_metrics_have_the_path_and_the_reward_its_lambda(base, tmp_path, algorithm):
    changes = {"minibatches": 1, "passes": 1} if algorithm == "ppo" else {}
    aim = exact_aim(distribution(base), 0.5)
    record = steered(algorithm, base, tmp_path, aim, **changes)
    table = pd.read_csv(tmp_path / "model/metrics.csv")
    total, reward = aim.start.sum(), 0.0
    for n, name in enumerate(NAMES):
        level = table[f"rewards/{name}/mean"]
        reward += table[f"lam/{name}"] / total * level
        np.testing.assert_allclose(table[f"gap/{name}"], aim.target[n] - level, atol=1e-6)
    assert table["lam/sweet"].iloc[0] == aim.start[0]
    np.testing.assert_allclose(table["reward"], reward, rtol=1e-5)
    assert record["closed_loop"]["batches"] == len(table)
    assert record["closed_loop"]["stopped"] == STEPS_USED


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_stops_early_where_the_levels_are_met(base, tmp_path, algorithm):
    """With intervals that hold everything, and a λ that hardly moves."""
    aim = exact_aim(distribution(base), 1.0)
    wide = replace(aim, low=aim.low - 9, high=aim.high + 9, curvature=1e6 * aim.curvature)
    record = steered(algorithm, base, tmp_path, wide, steps=80, batch_size=16)
    assert record["closed_loop"]["stopped"] == LEVELS_MET
    assert record["steps"] == (73 if algorithm == "ppo" else 76)


def test_ppo_answers_each_prompt_twice_or_says_so(base, tmp_path):
    aim = exact_aim(distribution(base), 1.0)
    with pytest.raises(InputError, match="rollout of 3 responses on 1 processes has not two"):
        steered("ppo", base, tmp_path, aim, batch_size=3, minibatches=1)


def test_a_value_without_weight_may_get_one(base, tmp_path):
    aim = exact_aim(distribution(base), 1.0)
    aim = replace(aim, start=np.array([aim.start[0], 0.0]))
    steered("rloo", base, tmp_path, aim, steps=6)
    path = pd.read_csv(tmp_path / "model/metrics.csv")["lam/apt"]
    assert path.iloc[0] == 0
    assert path.iloc[-1] > 0


@pytest.mark.parametrize(("adapt", "scored"), [(True, ["sweet", "apt"]), (False, ["sweet"])])
def test_the_task_has_an_aim_if_it_adapts(monkeypatch, tmp_path, adapt, scored):
    loads = lambda specs: {name: REWARDS[one["kind"]] for name, one in specs.items()}  # noqa: E731
    monkeypatch.setattr(rl, "load_all", loads)
    palette = {
        "values": NAMES, "lam_train": [1.0, 0.0], "target": [1.0, 1.0],
        "level_se_train": [0.1, 0.1], "curvature_train": [[1.0, 0.0], [0.0, 1.0]],
    }  # fmt: skip
    inputs = TrainingInputs(
        settings={"adapt": adapt}, model={"source": "m", "revision": None}, template=TEMPLATE,
        sampling=SAMPLING.model_dump(), seed=0, palette=palette, prompts=["p"],
        values={name: {"kind": name} for name in NAMES}, preferences={}, held_out={}, policies={},
        candidates=None, work=run_in(tmp_path).work, microbatch_factor=1,
    )  # fmt: skip
    task = rl.task_of(inputs)
    assert list(task.rewards) == scored
    assert (task.aim is not None) == adapt
