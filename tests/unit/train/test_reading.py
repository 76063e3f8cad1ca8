"""Responses read without their padding, and what drawing knows, against the plain way."""

import numpy as np
import pytest
import torch
from enumerable import LENGTH, SAMPLING, TEMPLATE
from trainers import run_in, train
from trl import GRPOTrainer, RLOOTrainer

from polyalign.families.options import Lora
from polyalign.families.rloo import Rloo
from polyalign.models.logprobs import LOGITS_AT_ONCE
from polyalign.sampling.drawing import DrawingEngine, uniforms
from polyalign.train import responses as responses_of
from polyalign.train.loading import load
from polyalign.train.reading import Narrowed
from polyalign.train.responses import (
    by_length,
    padded,
    response_logits,
    spread,
    token_entropies,
    token_logprobs,
)
from polyalign.train.rloo import GrpoTrainer, RlooTrainer

PLAIN = {"rloo": RLOOTrainer, "grpo": GRPOTrainer}
OWN = {"rloo": RlooTrainer, "grpo": GrpoTrainer}


def test_parts_of_similar_length_have_the_numbers_and_the_gradient_of_the_batch(
    base, tmp_path, monkeypatch
):
    monkeypatch.setattr(responses_of, "ROWS", 16)
    policy, _ = load(str(base), None, TEMPLATE, Rloo(), run_in(tmp_path))
    rng = np.random.default_rng(0)
    prompts = [list(map(int, rng.integers(1, 7, rng.integers(1, 3)))) for _ in range(40)]
    responses = [list(map(int, rng.integers(1, 7, rng.integers(1, 7)))) for _ in range(40)]
    batch = padded(prompts, responses, 0, torch.device("cpu"))
    weights = torch.randn(batch.mask.shape)
    sizes = []

    def read(part):
        sizes.append(part.ids.numel())
        every = spread(response_logits(policy, part)[0], 0.7)
        return token_logprobs(every, part), token_entropies(every)

    def gradient(numbers):
        policy.zero_grad()
        (numbers * weights * batch.mask).sum().backward()
        return torch.cat([weight.grad.flatten() for weight in policy.parameters()])

    whole = [each * batch.mask for each in read(batch)]
    apart = by_length(read, batch, 8)
    for one, other in zip(apart, whole, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(gradient(apart[0]), gradient(whole[0]), atol=1e-5, rtol=1e-4)
    excluded = lambda part: (torch.where(part.mask > 0, 1.0, -torch.inf),)  # noqa: E731
    assert torch.equal(by_length(excluded, batch, 8)[0], batch.mask)
    texts = sum(map(len, prompts + responses))
    assert len(sizes) == 1 + 3
    assert texts <= sum(sizes[1:]) < 0.9 * sizes[0]
    # A vocabulary of which four responses fill the room for logits.
    sizes.clear()
    most = LOGITS_AT_ONCE["cpu"] // (4 * batch.tokens.shape[1])
    torch.testing.assert_close(by_length(read, batch, most)[0], apart[0])
    assert len(sizes) == 10


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=8)], ids=["whole", "adapters"])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7}, {"top_k": 3}], ids=str)
@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_what_trl_reads_is_what_it_would_read_itself(
    base, tmp_path, monkeypatch, algorithm, sampling, lora
):
    """Policy and base model, with and without a gradient; of what drawing knows, the sums."""
    own, plain = OWN[algorithm], PLAIN[algorithm]
    name = "_get_per_token_logps_and_entropies"
    told, kinds = getattr(own, name), []

    def both(self, model, ids, attention, length, *arguments, **named):
        drawn = getattr(self, "known", None) is not None and algorithm == "rloo"
        found = told(self, model, ids, attention, length, *arguments, **named)
        with torch.no_grad():
            expected = getattr(plain, name)(
                self, model, ids, attention, length, *arguments, **named
            )
        mask = attention[:, -length:]
        for one, other in zip(found[:2], expected[:2], strict=True):
            if one is None:
                assert drawn or other is None
            elif drawn:
                torch.testing.assert_close(one.sum(1), (other * mask).sum(1), atol=1e-5, rtol=1e-5)
            else:
                torch.testing.assert_close(one.detach() * mask, other * mask, atol=1e-5, rtol=1e-5)
        kinds.append("drawn" if drawn else "gradient" if found[0].requires_grad else "read")
        return found

    monkeypatch.setattr(own, name, both)
    asked = SAMPLING.model_copy(update=sampling)
    train(algorithm, base, tmp_path, sampling=asked, lora=lora, steps=2)
    first = "read" if "top_k" in sampling else "drawn"
    steps = {"rloo": [first, "read", "gradient"], "grpo": ["read", "gradient"]}
    assert kinds == 2 * steps[algorithm]


def test_the_worth_of_a_response_is_the_same_from_what_drawing_knows(base, tmp_path, monkeypatch):
    """GRPO has the KL in its loss, so its closed loop asks for it."""
    found = []
    original = GrpoTrainer._generate_and_score_completions

    def noting(self, inputs):
        output = original(self, inputs)
        known = self.worth(output)
        self.known = None
        found.append((known, self.worth(output), output["advantages"]))
        return output

    monkeypatch.setattr(GrpoTrainer, "_generate_and_score_completions", noting)
    train("grpo", base, tmp_path, steps=3, learning_rate=3e-2)
    known, read, advantages = found[-1]
    torch.testing.assert_close(known, read, atol=1e-5, rtol=1e-5)
    assert (known - advantages).abs().max() > 1e-3


def test_elsewhere_than_on_a_cpu_trl_reads(monkeypatch):
    class Plain:
        def _get_per_token_logps_and_entropies(self, *arguments, **named):
            return arguments, named

    class Both(Narrowed, Plain):
        pass

    ids = torch.zeros((1, 2), dtype=torch.long, device="meta")
    arguments, named = Both()._get_per_token_logps_and_entropies(
        "model", ids, ids, 1, 8, compute_entropy=True, image_sizes=None
    )
    assert (arguments[0], arguments[3:], named) == (
        "model",
        (1, 8, True, False),
        {"image_sizes": None},
    )


def test_a_prompt_that_is_answered_several_times_is_read_once(base, monkeypatch, tmp_path):
    """And each answer is the one that it would have alone."""
    policy, tokenizer = load(str(base), None, TEMPLATE, Rloo(), run_in(tmp_path))
    engine = DrawingEngine(policy.eval(), tokenizer, SAMPLING)
    assert engine.cached
    asked = [[5, 1], [5, 6, 1], [5, 6, 1], [5, 1], [5, 1]]
    rows = []
    policy.register_forward_pre_hook(
        lambda module, arguments, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    uniform = uniforms(3, LENGTH, len(asked))
    together = engine.draw([""] * len(asked), asked, uniform)
    assert rows[0] == 2
    assert max(rows[1:]) >= 4
    for row, (ids, one) in enumerate(zip(asked, together, strict=True)):
        (alone,) = engine.draw([""], [ids], uniform[:, [row]])
        assert one.ids == alone.ids
        assert one.logprob == pytest.approx(alone.logprob, abs=1e-5)
    assert len({tuple(one.ids) for one in together}) > 2
