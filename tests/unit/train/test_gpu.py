"""What only a GPU can show: every trainer in bfloat16, and adapters of weights in 4 bits."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import test_dpo
import test_lora
import test_ppo
import test_rloo
import torch
from enumerable import TEMPLATE, distribution, save_base

from polyalign.train.common import Training
from polyalign.train.reward import train_reward

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("family", ["dpo", "ppo", "rloo"])
def test_reaches_the_exact_optimum_in_bfloat16(base, tmp_path, family):
    if family == "dpo":
        nats = test_dpo.reached(base, tmp_path, test_dpo.lam_pairs(base), dtype="bfloat16")
    else:
        module = {"ppo": test_ppo, "rloo": test_rloo}[family]
        nats, record = module.reached(base, tmp_path, dtype="bfloat16")
        assert record["device"] == "cuda"
    assert nats <= 0.05


@needs_bitsandbytes
@pytest.mark.parametrize("family", ["dpo", "ppo", "rloo"])
def test_adapters_of_weights_in_4_bits(base, tmp_path, family):
    """Merged into the full weights, not into rounded ones, and the same as those kept apart."""
    for name, merge in (("merged", True), ("kept", False)):
        lora = replace(test_lora.LORA, four_bit=True, merge=merge)
        test_lora.train(family, base, tmp_path / name, lora, dtype="bfloat16")
    merged, kept = (distribution(tmp_path / name / "model") for name in ("merged", "kept"))
    assert np.abs(merged - distribution(base)).max() > 0.01
    np.testing.assert_allclose(merged, kept, atol=1e-5)


@needs_bitsandbytes
def test_a_reward_model_with_weights_in_4_bits(base, tmp_path):
    pairs: pd.DataFrame = test_lora.PAIRS
    lora = replace(test_lora.LORA, four_bit=True)
    record = train_reward(
        str(base), pairs, pairs[:4], tmp_path / "model", work=tmp_path / "work", template=TEMPLATE,
        training=Training(1e-2, 8, dtype="bfloat16", lora=lora, seed=1), epochs=4,
    )  # fmt: skip
    assert record["device"] == "cuda"
    assert record["held_out"]["accuracy"] == 1.0
