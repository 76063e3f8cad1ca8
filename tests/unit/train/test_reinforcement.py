"""PPO, RLOO and GRPO reach what they aim at, repeat themselves, and resume after a kill."""

import json

import numpy as np
import pandas as pd
import pytest
from enumerable import LAM, MUTATIONS, REWARDS, SAMPLING
from pydantic import ValidationError
from trainers import assert_same_but_for_rounding, reached, same_weights, train

from polyalign.errors import InputError
from polyalign.families import family
from polyalign.families.ppo import Ppo
from polyalign.families.rloo import Rloo
from polyalign.train.rl import prompt_order


@pytest.mark.parametrize(
    ("algorithm", "changes", "bar"),
    [
        ("ppo", {}, 0.05),
        ("ppo", {"gae_lambda": 0.9, "minibatches": 4, "passes": 1}, 0.05),
        ("rloo", {}, 0.02),
        ("rloo", {"passes": 2}, 0.02),
        ("grpo", {}, 0.05),
        ("grpo", {"passes": 2}, 0.05),
    ],
)
def test_reaches_the_exact_optimum(base, tmp_path, algorithm, changes, bar):
    nats, record = reached(algorithm, base, tmp_path, **changes)
    assert nats <= bar
    assert record["exact_target"] == (algorithm != "grpo")


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_misses_the_optimum_of_something_else(base, tmp_path, algorithm, name):
    """A wrong β, a dropped value and sampling that is not p0's cannot hide behind the bar."""
    nats, _ = reached(algorithm, base, tmp_path, **MUTATIONS[name])
    assert nats > 0.1


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_same_seed_gives_the_same_weights(base, tmp_path, algorithm):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        train(algorithm, base, tmp_path / name, seed=seed)
    assert same_weights(tmp_path / "one/model", tmp_path / "two/model")
    assert not same_weights(tmp_path / "one/model", tmp_path / "other/model")


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(
    ("algorithm", "settings", "killed_at", "resumed_from"),
    [
        # Checkpoints are between rollouts and on rows of metrics: at steps 4 and 8 here.
        ("ppo", {"steps": 16, "save_every": 3, "log_every": 2}, 3, 8),
        ("rloo", {"steps": 8, "save_every": 3}, 5, 3),
        ("rloo", {"steps": 8, "save_every": 3, "passes": 2}, 4, 4),
    ],
    ids=["ppo", "rloo", "rloo, twice"],
)
def test_killed_and_resumed_equals_uninterrupted(
    base, tmp_path, monkeypatch, algorithm, settings, killed_at, resumed_from, accumulation
):
    settings = {**settings, "accumulation": accumulation}
    train(algorithm, base, tmp_path / "whole", **settings)
    calls = []
    original = REWARDS["apt"]

    def dies(prompts, responses):
        calls.append(1)
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        return original(prompts, responses)

    monkeypatch.setitem(REWARDS, "apt", dies)
    with pytest.raises(KeyboardInterrupt):
        train(algorithm, base, tmp_path / "killed", **settings)
    assert not (tmp_path / "killed/model").exists()
    half_written = tmp_path / f"killed/work/checkpoint-{resumed_from + 1}"
    half_written.mkdir()
    record = train(algorithm, base, tmp_path / "killed", **settings)
    assert (record["resumed_from"], record["steps"]) == (resumed_from, settings["steps"])
    assert same_weights(tmp_path / "whole/model", tmp_path / "killed/model")
    tables = [pd.read_csv(tmp_path / name / "model/metrics.csv") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*tables)
    assert not (tmp_path / "killed/work").exists()


@pytest.mark.parametrize(
    ("algorithm", "changes", "own"),
    [("ppo", {"minibatches": 1, "passes": 1}, {"clipped", "value_error"}), ("rloo", {}, set())],
    ids=["ppo", "rloo"],
)
def test_metrics_and_folder(base, tmp_path, algorithm, changes, own):
    record = train(algorithm, base, tmp_path, **changes)
    table = pd.read_csv(tmp_path / "model/metrics.csv")
    assert table["step"].tolist() == list(range(1, record["steps"] + 1))
    expected = {"loss", "reward", "kl", "entropy", "length", "truncated",
                "rewards/sweet/mean", "rewards/apt/mean"}  # fmt: skip
    assert expected | own <= set(table)
    assert record["metrics"]["reward"] == pytest.approx(table["reward"].iloc[-1])
    total = sum(LAM.values())
    weighted = sum(table[f"rewards/{name}/mean"] * weight / total for name, weight in LAM.items())
    np.testing.assert_allclose(table["reward"], weighted, rtol=1e-5)
    assert table["kl"].iloc[0] == pytest.approx(0, abs=1e-5), "the first responses are the base's"
    assert table["length"].between(1, 3).all()
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors", "metrics.csv",
                     "tokenizer.json", "tokenizer_config.json"}  # fmt: skip


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_no_weight_at_all_copies_the_base(base, tmp_path, algorithm):
    record = train(algorithm, base, tmp_path, lam={"sweet": 0.0, "apt": 0.0})
    assert record["steps"] == 0
    assert "base model" in record["note"]
    assert same_weights(base, tmp_path / "model")


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lam": {"sweet": float("inf")}}, "expected a finite number"),
        ({"lam": {"unknown": 1.0}}, "no such reward"),
        ({"template": "no place"}, "has no {prompt}"),
        ({"template": "{prompt} <end>"}, "ends with the end token"),
        ({"accumulation": 3}, "expected a multiple of 3"),
        ({"dtype": "float8"}, "expected float32 or bfloat16"),
        (
            {"template": "{prompt} a a a a a :"},
            "no room for a response of 3 tokens after 2 prompts of up to 8 tokens",
        ),
        ({"prompts": []}, "no prompts to train on"),
        ({"lora": {"four_bit": True}, "device": "cpu"}, "training runs on the CPU"),
    ],
)
def test_refuses_early_what_does_not_fit(base, tmp_path, algorithm, changes, message):
    with pytest.raises(InputError, match=message):
        train(algorithm, base, tmp_path, **changes)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        (Ppo, {"steps": 9}, r"steps 9 is not a multiple of minibatches 2 × passes 2"),
        (Rloo, {"generations": 3}, "batch_size 128 is not a multiple of generations 3"),
        (Rloo, {"steps": 9, "passes": 2}, "steps 9 is not a multiple of passes 2"),
        (Rloo, {"generations": 1, "batch_size": 4}, "greater than or equal to 2"),
        (Rloo, {"algorithm": "reinforce"}, "'rloo' or 'grpo'"),
    ],
)
def test_a_section_refuses_what_does_not_fit(section, settings, message):
    with pytest.raises(ValidationError, match=message):
        section(**settings)


@pytest.mark.parametrize(("name", "section"), [("ppo", Ppo), ("rloo", Rloo)])
def test_the_trainer_takes_the_settings_of_a_policy(name, section):
    declared = family(name)
    options = {"learning_rate": 1e-3, "lora": {"rank": 4, "targets": ["c_attn"]}}
    (policy,) = declared.policies(declared.settings(palettes=["p"], **options))
    assert section(**json.loads(json.dumps(policy.settings))) == section(**options)
    with pytest.raises(ValidationError, match="palettes"):
        section(**policy.settings, palettes=["p"])


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_sampling_with_excluded_tokens_is_said_to_be_inexact(base, tmp_path, algorithm):
    sampling = SAMPLING.model_copy(update={"top_k": 3})
    assert not train(algorithm, base, tmp_path, steps=4, sampling=sampling)["exact_target"]


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_a_training_that_diverges_ends_at_once_and_leaves_no_model(base, tmp_path, algorithm):
    with pytest.raises(FloatingPointError, match=r"step .*lower learning_rate"):
        # On a GPU it fails likewise, but no later test could use the GPU in this process.
        train(algorithm, base, tmp_path, learning_rate=1e30, device="cpu")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo"])
def test_more_parts_after_a_lack_of_memory_change_only_rounding(base, tmp_path, algorithm):
    """The same responses too: noise is drawn for as many at once as before."""
    for name, factor in (("one", 1), ("parts", 4)):
        changes = {"learning_rate": 1e-3, "microbatch_factor": factor}
        train(algorithm, base, tmp_path / name, **changes)
    assert_same_but_for_rounding(base, tmp_path / "one/model", tmp_path / "parts/model", 1e-4)


def test_order_has_every_prompt_once_per_pass():
    order = prompt_order(5, batches=4, per_batch=3, seed=1)
    assert len(order) == 12
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4]
