"""Drawing responses token by token, with a key-value cache from which texts go when they end.

`generate` of transformers computes a whole batch until its longest response ends, and does not say
how likely the tokens were that it drew. Here a token is drawn by one random number and the sum of
the probabilities (inverse transform sampling), and its log-probability is known.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from polyalign.models.encoding import max_positions
from polyalign.models.endings import end_tokens, without_end
from polyalign.models.logprobs import warpers
from polyalign.models.plain import plain_logits
from polyalign.models.probes import probes, proven
from polyalign.sampling.engines import Engine, Response, TransformersEngine, left_padded
from polyalign.settings import SamplingRule


@dataclass(frozen=True)
class NextTokens:
    """The next tokens of b texts.

    Attributes:
        tokens: their ids.
        logprob: their log-probabilities (nats), as they were drawn.
        kl: divergences (nats) of the distributions that they were drawn from, from those of the
            base model; None where the base model is not asked.
    """

    tokens: list[int]
    logprob: list[float]
    kl: list[float] | None = None


Choose = Callable[[int, Sequence[int], torch.Tensor, torch.Tensor], NextTokens]
"""Draws the next tokens of b texts: the step, the numbers of the texts, the model's logits
(b, vocabulary), and b random numbers in [0, 1)."""


def sampler(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: SamplingRule
) -> Engine:
    """What samples from a loaded model: this module, or transformers where its cache is no list.

    Some models keep a state in another form than keys and values of every token.
    """
    drawing = DrawingEngine(model, tokenizer, sampling)
    return drawing if drawing.cached else TransformersEngine(model, tokenizer, sampling)


def uniforms(seed: int, tokens: int, texts: int) -> torch.Tensor:
    """The random numbers in [0, 1) of a batch, float64 (tokens, texts).

    They are drawn together, so the draws of a text do not depend on when other texts end.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((tokens, texts), generator=generator, dtype=torch.float64)


class DrawingEngine:
    """Draws responses from a model with a sampling rule, one batch of prompts at a time.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        sampling: the sampling rule of p0.
        stop: texts before which a response ends.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: SamplingRule,
        stop: Sequence[str] = (),
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.sampling, self.warpers = sampling, warpers(sampling)
        self.stop = tuple(stop)
        self.ends = end_tokens(model.generation_config, tokenizer)
        self.cached = cache_agrees(model, tokenizer)

    def __call__(
        self, prompts: Sequence[str], encoded: Sequence[list[int]], seed: int
    ) -> list[Response]:
        """One response per prompt; `encoded` are the rendered prompts.

        Raises:
            InputError: if a reward is not a finite number.
        """
        uniform = uniforms(seed, self.sampling.max_new_tokens, len(encoded))
        return self.draw(prompts, encoded, uniform)

    @torch.inference_mode()
    def draw(
        self,
        prompts: Sequence[str],
        encoded: Sequence[list[int]],
        uniform: torch.Tensor,
        grown: Callable[[int, list[int]], bool] | None = None,
    ) -> list[Response]:
        """As a call, with random numbers of one's own, so that each text may have its own seed.

        Args:
            prompts: b prompts.
            encoded: the rendered prompts.
            uniform: numbers in [0, 1), float64 (`max_new_tokens`, b), as `uniforms` makes them.
            grown: is told after every token the number of the text and its token ids so far, and
                says whether the text ends there, because nobody waits for it any more.

        Raises:
            InputError: if a reward is not a finite number.
        """
        drawn: list[list[int]] = [[] for _ in encoded]
        # A prompt that is answered several times is read once.
        number = {ids: place for place, ids in enumerate(dict.fromkeys(map(tuple, encoded)))}
        batch = left_padded(self.tokenizer, [*map(list, number)]).to(self.model.device)
        inputs, attention = batch["input_ids"], batch["attention_mask"]
        copies = torch.tensor([number[tuple(ids)] for ids in encoded], device=inputs.device)
        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        kept = DynamicCache(config=self.model.config)
        choose = self.chooser(prompts, drawn)
        logprob, kl = np.zeros(len(encoded)), np.zeros(len(encoded))
        alive = list(range(len(encoded)))
        responses: dict[int, Response] = {}
        for step in range(self.sampling.max_new_tokens):
            if self.cached:
                logits = _next_logits(self.model, inputs, attention, positions, kept)
                if not step and len(number) < len(encoded):
                    logits = logits[copies]
                    kept.batch_select_indices(copies)
            else:
                whole = [[*encoded[row], *drawn[row]] for row in alive]
                logits = torch.stack([plain_logits(self.model, ids)[-1] for ids in whole])
            if not step:
                attention, positions = attention[copies], positions[copies]
            new = choose(step, alive, logits, uniform[step, alive])
            logprob[alive] += new.logprob
            if new.kl:
                kl[alive] += new.kl
            going = []
            for place, row in enumerate(alive):
                drawn[row].append(new.tokens[place])
                left = grown is not None and grown(row, drawn[row])
                ended = self._ended(drawn[row])
                if ended or left or step == self.sampling.max_new_tokens - 1:
                    text = self.texts([drawn[row]])[0]
                    spent = float(kl[row]) if new.kl else None
                    responses[row] = Response(
                        drawn[row], text, not ended, float(logprob[row]), spent
                    )
                else:
                    going.append(place)
            if not going:
                break
            if len(going) < len(alive):
                if self.cached:
                    kept.batch_select_indices(torch.tensor(going, device=attention.device))
                attention, positions = attention[going], positions[going]
                alive = [alive[place] for place in going]
            inputs = torch.tensor([[drawn[row][-1]] for row in alive], device=attention.device)
            attention = torch.cat([attention, attention.new_ones(len(alive), 1)], dim=1)
            positions = positions[:, -1:] + 1
        return [responses[row] for row in range(len(encoded))]

    def chooser(self, prompts: Sequence[str], drawn: Sequence[list[int]]) -> Choose:
        """How the next tokens of a batch are drawn: here by the model and its rule alone.

        Args:
            prompts: the prompts of the batch.
            drawn: its responses so far, as token ids; they grow.
        """
        return lambda step, rows, logits, uniform: self.plain(logits, uniform)

    def plain(self, logits: torch.Tensor, uniform: torch.Tensor) -> NextTokens:
        """Draw the next tokens of b texts from the model with its rule, where the logits are."""
        changed: Any = self.warpers(cast(Any, None), cast(Any, logits))
        probabilities = changed.softmax(-1)
        at = drawn_at(probabilities.cumsum(-1, dtype=torch.float64), uniform.to(logits.device))
        logs = probabilities.gather(1, at)[:, 0].log().tolist()
        if not all(map(math.isfinite, logs)):
            raise FloatingPointError(
                f"{self.tokenizer.name_or_path}: the probabilities of the next token are not "
                "finite; expected finite logits; load the model in float32 or bfloat16, or train "
                "it again at a lower learning rate"
            )
        return NextTokens(at[:, 0].tolist(), logs)

    def texts(self, responses: Sequence[list[int]]) -> list[str]:
        """The texts of responses, stripped, up to the first stop text."""
        written = [without_end(ids, self.ends) for ids in responses]
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        for stop in self.stop:
            texts = [text.partition(stop)[0] for text in texts]
        return [text.strip() for text in texts]

    def _ended(self, ids: list[int]) -> bool:
        if ids[-1] in self.ends:
            return True
        text = self.tokenizer.decode(ids, skip_special_tokens=True) if self.stop else ""
        return any(stop in text for stop in self.stop)


def drawn_at(cumulative: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Places (b, 1) that b random numbers in [0, 1) choose.

    Args:
        cumulative: sums of the weights of k places, float64 (b, k).
        uniform: the numbers, float64.
    """
    points = (uniform[:, None] * cumulative[:, -1:]).contiguous()
    at = torch.searchsorted(cumulative, points, right=True)
    return at.clamp(max=cumulative.shape[1] - 1)


def _next_logits(
    model: PreTrainedModel,
    inputs: torch.Tensor,
    attention: torch.Tensor,
    positions: torch.Tensor,
    kept: Any,
) -> torch.Tensor:
    """Logits (b, vocabulary) of the next token; `kept` grows by `inputs`."""
    output = cast(Any, model)(
        input_ids=inputs,
        attention_mask=attention,
        position_ids=positions,
        past_key_values=kept,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: torch.Tensor = output.logits[:, -1].float()
    return logits


@torch.inference_mode()
def cache_agrees(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether left-padded texts that grow and end in a key-value cache have the model's own logits.

    The texts are those of `polyalign.models.probes`; the last one ends first, two tokens earlier.
    The first one is read once and goes on in two ways, with a copy of its cache.
    """
    texts = [
        prefix + suffix
        for prefix, suffix in probes(model, tokenizer, max_positions(model))
        if len(prefix) + len(suffix) > 2
    ]
    rows = [*range(len(texts) - 1), 0]
    going = [*texts[:-1], [*texts[0][:-2], *texts[-1][-2:]]]

    def grown() -> np.ndarray:
        kept = DynamicCache(config=model.config)
        batch = left_padded(tokenizer, [ids[:-2] for ids in texts]).to(model.device)
        attention = batch["attention_mask"]
        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        found = [_next_logits(model, batch["input_ids"], attention, positions, kept)]
        kept.batch_select_indices(torch.tensor(rows, device=attention.device))
        attention, positions = attention[rows], positions[rows]
        for cut in (2, 1):
            inputs = torch.tensor([[ids[-cut]] for ids in going], device=attention.device)
            attention = torch.cat([attention, attention.new_ones(len(rows), 1)], dim=1)
            positions = positions[:, -1:] + 1
            found.append(_next_logits(model, inputs, attention, positions, kept))
        return torch.cat(found).cpu().numpy()

    read = [
        *(ids[:-2] for ids in texts),
        *(ids[:-1] for ids in going),
        *going,
    ]
    expected = np.array([plain_logits(model, ids)[-1].numpy() for ids in read])
    return proven("a key-value cache", tokenizer.name_or_path, grown, expected, model.dtype)
