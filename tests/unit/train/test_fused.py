"""trl's head at the tokens of responses alone."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from polyalign.train.fused import states_at


@pytest.mark.parametrize("adapters", [False, True])
def test_the_head_sees_only_the_tokens_asked(base, adapters):
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    if adapters:
        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    ids = torch.tensor([[5, 1, 2, 3, 0], [5, 6, 1, 4, 0]])
    asked = torch.tensor([[False, True, True, False], [False, False, True, True]])
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        with states_at(model, asked):
            made = model(**text, shift_labels=ids[:, 1:][asked][None], fused_lm_head=True)
        whole = model(**text).logits[:, :-1].log_softmax(-1)
    expected = whole.gather(-1, ids[:, 1:, None])[..., 0][asked]
    torch.testing.assert_close(made.log_probs, expected[None])
    torch.testing.assert_close(made.entropy, -(whole.exp() * whole).sum(-1)[asked][None])
    assert whole.shape[1] == 4  # the hook is gone
