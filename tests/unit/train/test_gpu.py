"""What only a GPU can show: every trainer in bfloat16, and adapters of weights in 4 bits."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import test_dpo
import test_lora
import torch
import trainers
from enumerable import TEMPLATE, distribution

from polyalign.families.options import RewardTraining
from polyalign.train.reward import train_reward

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


# In bfloat16 trainings are longer than those that the CPU can afford.
STEPS = {"ppo": 240, "rloo": 100}


@pytest.mark.parametrize("family", ["dpo", "ppo", "rloo"])
def test_reaches_the_exact_optimum_in_bfloat16(base, tmp_path, family):
    if family == "dpo":
        pairs = test_dpo.lam_pairs(base, pairs=8000)
        nats = test_dpo.reached(base, tmp_path, pairs, dtype="bfloat16")
    else:
        steps = STEPS[family]
        nats, record = trainers.reached(family, base, tmp_path, dtype="bfloat16", steps=steps)
        assert record["device"] == "cuda"
    assert nats <= 0.05


@needs_bitsandbytes
@pytest.mark.parametrize("family", ["dpo", "ppo", "rloo"])
def test_adapters_of_weights_in_4_bits(base, tmp_path, family):
    """Merged into the full weights, not into rounded ones, and the same as those kept apart."""
    for name, merge in (("merged", True), ("kept", False)):
        lora = test_lora.lora_with(four_bit=True, merge=merge)
        test_lora.train(family, base, tmp_path / name, lora, dtype="bfloat16")
    merged, kept = (distribution(tmp_path / name / "model") for name in ("merged", "kept"))
    assert np.abs(merged - distribution(base)).max() > 0.01
    np.testing.assert_allclose(merged, kept, atol=1e-5)


@needs_bitsandbytes
def test_a_reward_model_with_weights_in_4_bits(base, tmp_path):
    pairs: pd.DataFrame = test_lora.PAIRS
    lora = test_lora.lora_with(four_bit=True)
    section = RewardTraining(learning_rate=1e-2, batch_size=8, lora=lora, epochs=4)
    run = trainers.run_in(tmp_path, seed=1, dtype="bfloat16")
    record = train_reward(
        str(base), pairs, pairs[:4], section, run, tmp_path / "model", template=TEMPLATE
    )
    assert record["device"] == "cuda"
    assert record["held_out"]["accuracy"] == 1.0
