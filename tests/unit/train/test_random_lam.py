"""Trainings with a random λ, without a palette: MORL by fine-tuning."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from enumerable import REWARDS, SAMPLING, TEMPLATE

from polyalign.data.keys import batch_seed
from polyalign.errors import InputError
from polyalign.families import ppo, rloo
from polyalign.runtime.job import Job
from polyalign.sampling.select import morl_d
from polyalign.study import load
from polyalign.train import rl
from polyalign.train.inputs import TrainingInputs, training_inputs

ROOT = Path(__file__).parents[3]
NAMES = ["apt", "sweet"]
MORL = {"count": 3, "cap": 2.5, "values": NAMES}


def told(tmp_path: Path, variant: str, family=rloo, **section) -> TrainingInputs:
    """What the training of a policy is told, as its job reads it."""
    found = family.policies(family.Settings(**{"morl": MORL, **section}))
    (policy,) = [one for one in found if one.variant == variant]
    settings = {
        "family": policy.family, "variant": variant, "settings": policy.settings, "seed": 4,
        "model": {"source": "m", "revision": None}, "template": TEMPLATE,
        "sampling": SAMPLING.model_dump(), "values": {name: {"kind": name} for name in NAMES},
    }  # fmt: skip
    return training_inputs(Job(settings, {}, {}, tmp_path))


@pytest.mark.parametrize("family", [rloo, ppo])
def test_the_policies_are_those_of_the_palettes_and_of_random_lambda(family) -> None:
    settings = family.Settings(palettes=["hhh-60"], random=1, start="sft", morl=MORL)
    made = {policy.variant: policy for policy in family.policies(settings)}
    assert list(made) == ["hhh-60", "random-01", "draw-1", "draw-2", "draw-3"]
    assert made["hhh-60"].settings == made["random-01"].settings
    assert "morl" not in made["hhh-60"].settings
    drawn = made["draw-2"]
    assert (drawn.palette, drawn.start, drawn.values) == (None, None, ("apt", "sweet"))
    assert [made[name].is_rewarded for name in made] == [True] * 5
    only = family.policies(family.Settings(morl=MORL))
    assert [policy.variant for policy in only] == ["draw-1", "draw-2", "draw-3"]


def test_a_section_without_targets_and_a_name_that_stands_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="neither `palettes` nor `random`, nor `morl`"):
        rloo.Settings()
    with pytest.raises(ValueError, match="'draw-2' names both a palette and a random λ"):
        rloo.Settings(palettes=["draw-2"], morl=MORL)


@pytest.mark.parametrize("variant", ["draw-1", "draw-3"])
def test_training_and_decoding_have_one_lambda(tmp_path: Path, variant: str) -> None:
    pool = pd.DataFrame(
        {
            "prompt_id": ["p"] * 3, "prompt": ["p"] * 3, "candidate": range(3), "split": "test",
            "response": ["a", "b", "c"], "apt": [0.0, 1.0, 2.0], "sweet": [1.0, 0.0, 3.0],
        }
    )  # fmt: skip
    seed = batch_seed(4, f"morl-d/{variant}", 0)
    decoded = morl_d(pool, {}, cap=2.5, values=NAMES, draws=1, seed=seed)
    lam = told(tmp_path, variant).lam
    assert lam == decoded.lam
    assert 0 < sum(lam.values()) < 2.5
    assert lam == told(tmp_path, variant, morl=MORL | {"count": 9}).lam
    assert lam != told(tmp_path, "draw-2").lam


@pytest.mark.parametrize("family", [rloo, ppo])
def test_the_task_has_the_drawn_lambda_and_no_aim(monkeypatch, tmp_path: Path, family) -> None:
    monkeypatch.setattr(
        rl, "load_all", lambda specs: {name: REWARDS[spec["kind"]] for name, spec in specs.items()}
    )
    inputs = told(tmp_path, "draw-1", family)
    task = rl.task_of(inputs)
    assert task.lam == inputs.lam
    assert list(task.rewards) == NAMES
    assert (task.aim, task.initial) == (None, None)


def test_lambda_weighs_no_value_that_is_only_evaluated(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "configs/published-opt.yaml").read_text())
    config["policies"] = {"ppo": {"morl": {"values": ["humor", "diversity"]}}}
    config |= {"evaluation": {"evaluate_only": ["diversity"]}, "plots": [], "palettes": {}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"policies\.ppo\.morl\.values.*would weigh 'diversity'"):
        load(path)
