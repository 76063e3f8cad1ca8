"""Listwise DPO whose λ is steered ends at the levels of the palette, from a wrong λ."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from enumerable import (
    END,
    LAM,
    LENGTH,
    PROMPTS,
    TEMPLATE,
    TOKENS,
    distribution,
    responses,
    reward_table,
    target,
    texts,
)
from pydantic import ValidationError
from steered import NAMES, base_sd, exact_aim, levels, misses
from trainers import killed_at, same_weights, told

from polyalign.families.dpo import Labelled, Labels
from polyalign.train.candidates import scored_candidates, train_on_candidates
from polyalign.train.closed_loop import STEPS_USED, ClosedLoop
from polyalign.train.inputs import TrainingInputs
from polyalign.train.listwise import ListwiseTrainer
from polyalign.train.replay import replayed

MISS, NATS = 0.02, 0.05  # sd of the base model, KL in nats
EACH = 48


def pool(base, lists, aim):
    """Lists of candidates of every prompt, as if they were prompts: shares as the base has them."""
    table, draws, rows = distribution(base), np.random.default_rng(0), []
    columns = [NAMES.index(name) for name in aim.values]
    for number, prompt in enumerate(PROMPTS):
        places = (np.arange(lists * EACH) + 0.5) / (lists * EACH)
        drawn = draws.permutation(np.searchsorted(table[number].cumsum(), places))
        for n, choice in enumerate(drawn):
            rewards = reward_table()[number, choice][columns]
            end = TOKENS[END] if responses()[choice][-1] == END else ""
            rows.append(
                {"prompt_id": f"{prompt} {n // EACH}", "prompt": prompt, "end_token": end,
                 "response": texts()[choice], "rewards": rewards, "score": rewards @ aim.start}
            )  # fmt: skip
    return pd.DataFrame(rows)


def steered(base, folder, aim, lists=200, **changes):
    """Record of a training that is steered to an aim."""
    settings = {"learning_rate": 2e-3, "batch_size": 4, "epochs": 1, "adapt": True, **changes}
    section, run, _ = told(Labels, folder, **settings)
    frame = pool(base, lists, aim)
    return train_on_candidates(
        ListwiseTrainer, str(base), frame, frame[:0], section, run, folder / "model",
        template=TEMPLATE, max_new_tokens=LENGTH, aim=aim,
    )  # fmt: skip


@pytest.mark.parametrize(("factor", "size", "passes"), [(0.5, 4, 2), (2.0, 8, 1)])
def test_lands_on_the_palette_from_a_wrong_lambda(base, tmp_path, factor, size, passes):
    """What the start has left behind is the more, the greater λ was."""
    few = {"log_every": 50, "lists": 50 * size // passes, "batch_size": size, "epochs": passes}
    start = distribution(base)
    record = steered(base, tmp_path, exact_aim(start, factor), **few)
    miss, nats = misses(start, distribution(tmp_path / "model"))
    print(f"{factor} × λ: {miss:.4f} sd, {nats:.4f} nats, {record['seconds']} s, "
          f"{record['steps']} steps, {record['closed_loop']}")  # fmt: skip
    assert miss <= MISS
    assert nats <= NATS
    found = record["closed_loop"]["lam"]
    assert [found[name] / LAM[name] for name in NAMES] == pytest.approx([1, 1], abs=0.05)
    assert "judged" not in record


UPDATE = ClosedLoop.update


def frozen(self, level, pending):
    """A loop that never moves λ."""
    self.path.append(self.lam.tolist())
    self.levels.append(level.tolist())
    return {}


MUTATIONS = {
    "λ frozen": frozen,
    "wrong sign of the dual step": lambda loop, level, pending: UPDATE(
        loop, 2 * loop.aim.target - level, -pending
    ),
}


@pytest.mark.parametrize("name", [*MUTATIONS, "a dropped value"])
def test_misses_the_palette_if_it_is_broken(base, tmp_path, monkeypatch, name):
    start = distribution(base)
    aim = exact_aim(start, 0.5)
    if name in MUTATIONS:
        monkeypatch.setattr(ClosedLoop, "update", MUTATIONS[name])
    else:
        aim = replace(
            aim, values=NAMES[:1], start=aim.start[:1], target=aim.target[:1], low=aim.low[:1],
            high=aim.high[:1], curvature=aim.curvature[:1, :1],
        )  # fmt: skip
    steered(base, tmp_path, aim, lists=40, learning_rate=4e-3)
    miss, nats = misses(start, distribution(tmp_path / "model"))
    assert miss > 5 * MISS
    assert nats > NATS


def test_the_levels_are_those_of_the_policy_before_it_learns(base, tmp_path, monkeypatch):
    """Of a policy that stays the base: its own level, and what p_λ has more, by enumeration."""
    seen = []

    def spy(loop, level, pending):
        seen.append((level, pending))
        return UPDATE(loop, level, pending)

    monkeypatch.setattr(ClosedLoop, "update", spy)
    start = distribution(base)
    steered(base, tmp_path, exact_aim(start, 1.0), lists=20, learning_rate=1e-9, batch_size=40)
    (level, pending), sd = seen[0], base_sd(start)
    np.testing.assert_allclose(level / sd, levels(start) / sd, atol=0.05)
    np.testing.assert_allclose(
        pending / sd, (levels(target(start)) - levels(start)) / sd, atol=0.05
    )
    assert (pending > 0.5 * sd).all()


def test_killed_and_resumed_is_steered_as_if_uninterrupted(base, tmp_path):
    aim = exact_aim(distribution(base), 0.5)
    settings = {"lists": 12, "save_every": 2}
    whole = steered(base, tmp_path / "whole", aim, **settings)
    with killed_at(5):
        steered(base, tmp_path / "killed", aim, **settings)
    record = steered(base, tmp_path / "killed", aim, **settings)
    assert (record["resumed_from"], record["steps"]) == (4, 6)
    assert record["closed_loop"] == whole["closed_loop"]
    assert record["closed_loop"]["stopped"] == STEPS_USED
    assert same_weights(tmp_path / "whole/model", tmp_path / "killed/model")
    one, other = (
        pd.read_csv(tmp_path / name / "model/metrics.csv") for name in ("whole", "killed")
    )
    pd.testing.assert_frame_equal(one, other)
    assert one["lam/sweet"].iloc[0] == aim.start[0] != one["lam/sweet"].iloc[-1]
    assert {"gap/sweet", "lam/apt", "gap/apt"} <= set(one)


def test_parts_of_a_step_are_steered_as_the_step(base, tmp_path):
    """As many steps of λ, from the same prompts."""
    aim = exact_aim(distribution(base), 0.5)
    one, parts = (
        steered(base, tmp_path / str(count), aim, lists=12, accumulation=count)["closed_loop"]
        for count in (1, 2)
    )
    assert one["batches"] == parts["batches"] == 6
    for what in ("lam", "levels"):
        assert parts[what] == pytest.approx(one[what], rel=1e-3)


def test_all_prompts_are_trained_on_and_have_their_rewards(base):
    aim = replace(exact_aim(distribution(base), 1.0), values=["two", "one"])
    frame = pd.DataFrame({"prompt": list("abcdefgh"), "one": 1.0, "two": np.arange(8)})
    told_ = dict.fromkeys(TrainingInputs.__dataclass_fields__)
    palette = {"values": ["one", "two"], "lam_train": [0.5, 2.0]}
    inputs = TrainingInputs(**{**told_, "candidates": frame, "palette": palette})
    ours, aside = scored_candidates(inputs, aim)
    assert (len(ours), len(aside)) == (8, 0)
    assert [list(one) for one in ours["rewards"]] == [[n, 1.0] for n in range(8)]


def test_pairs_do_not_say_what_the_policy_realises():
    with pytest.raises(ValidationError, match=r"has adapt with pairs.*expected all candidates"):
        Labelled(palettes=["p"], adapt=True, pairs=9)
    assert Labelled(palettes=["p"], pairs=9).adapt is False


@pytest.mark.parametrize(("prompts", "passes", "batch"), [(23, 1, 4), (60, 3, 7), (40, 2, 4)])
def test_each_step_has_a_fresh_prompt_and_none_twice(prompts, passes, batch):
    steps = replayed(prompts, passes, batch, seed=3)
    assert len(steps) == -(-passes * prompts // batch)
    seen = []
    for step in steps:
        numbers = [number for number, _ in step]
        assert len(set(numbers)) == len(numbers) == batch
        assert any(fresh for _, fresh in step)
        for number, fresh in step:
            assert fresh is (number not in seen)
        # The old ones are those that were read the longest ago.
        latest = list(dict.fromkeys(reversed(seen)))
        old = {number for number, fresh in step if not fresh}
        assert old == set(latest[len(latest) - len(old) :])
        seen += numbers
    assert sorted(set(seen)) == list(range(prompts))
    # New ones come evenly.
    half = len({number for step in steps[: len(steps) // 2] for number, _ in step})
    assert half == pytest.approx(prompts / 2, abs=batch)
    assert replayed(prompts, passes, batch, seed=3) == steps
    assert replayed(prompts, passes, batch, seed=4) != steps


def test_fewer_prompts_than_a_step_has():
    assert replayed(3, 1, 8, seed=1) == [[(n, True) for n, _ in replayed(3, 1, 8, seed=1)[0]]]
    assert [len(step) for step in replayed(3, 2, 8, seed=1)] == [3, 3]


def test_only_fresh_prompts_steer(base, tmp_path, monkeypatch):
    """In a second pass the old ones say too little of what is still behind."""
    counts = []
    steer = ListwiseTrainer.steer

    def spy(trainer, loop):
        counts.append(len(trainer.behind))
        steer(trainer, loop)

    monkeypatch.setattr(ListwiseTrainer, "steer", spy)
    record = steered(base, tmp_path, exact_aim(distribution(base), 1.0), lists=12, epochs=3)
    assert record["steps"] == record["closed_loop"]["batches"] == len(counts) == 18
    assert sum(counts) == 24
    assert counts[0] == 4
    assert set(counts[1:]) == {1, 2}
    assert record["settings"]["epochs"] == 3
