"""Token-level guidance: λ·r steers the sampling itself, one token ahead.

At every `interval`-th token the k likeliest continuations v of the text y so far are scored, and
the next token is drawn from

    p(v | x, y) ∝ p0(v | x, y) exp(λ·r(x, yv)),

where p0 is the base policy with its sampling rule; between these tokens p0 draws alone. (The score
of y would cancel.) What this samples:

- If k is the whole vocabulary, `interval` is 1, and the reward of an unfinished text is its soft
  value log E_p0[exp(λ·r(x, whole response)) | yv], it is p_λ ∝ p0 exp(λ·r) exactly: the factors
  telescope to the reward of the whole response.
- Rewards score the text so far as if it were whole. That is exact for responses of one token, and
  an approximation otherwise: each step is normalised separately, so λ acts again at every step, and
  levels and KL may be above or below those of p_λ. They are measured as for any policy.
- A reward that is 0 until the response ends tilts its last token alone.
- A reward that reads the end token reads it where one was drawn; a text so far has none, like one
  that the limit cuts.

So the log-probability of a response is that under this process, and the KL to the base model that
is computed from it is right, whatever the rewards.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from polyalign.models.encoding import max_positions
from polyalign.models.endings import NO_END, end_text, end_tokens, without_end
from polyalign.models.logprobs import warpers
from polyalign.models.plain import plain_logits
from polyalign.palettes.record import lam_of
from polyalign.rewards import (
    EndScore,
    IncrementalScorer,
    Score,
    SharedEncoding,
    check_finite,
    check_weights,
    load_all,
    score_of,
)
from polyalign.rewards.batches import split, unrolled
from polyalign.rewards.proof import probes, proven
from polyalign.sampling.engines import Response, left_padded
from polyalign.settings import SamplingRule


def uniforms(seed: int, tokens: int, texts: int) -> torch.Tensor:
    """The random numbers in [0, 1) of a batch, float64 (tokens, texts).

    They are drawn together, so the draws of a text do not depend on when other texts end.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((tokens, texts), generator=generator, dtype=torch.float64)


class GuidedEngine:
    """Draws responses with token-level guidance, one batch of prompts at a time.

    The language model runs with a key-value cache and drops texts that have ended. Rewards that
    support it do the same (`Score.incremental`); others read every different continuation whole.

    Args:
        model: the base model.
        tokenizer: its tokenizer.
        sampling: the sampling rule of p0.
        rewards: value → reward function.
        lam: value → weight λ; values with weight 0 are not scored.
        interval: apply guidance every `interval` tokens, from the first token on.
        top_k: continuations that are scored and may be drawn there.
        stop: texts before which a response ends.

    Raises:
        InputError: if a λ is not finite, or has no reward function.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: SamplingRule,
        rewards: Mapping[str, Score],
        lam: Mapping[str, float],
        *,
        interval: int,
        top_k: int,
        stop: Sequence[str],
    ) -> None:
        check_weights(lam, rewards)
        self.model, self.tokenizer = model, tokenizer
        self.sampling, self.warpers = sampling, warpers(sampling)
        self.rewards = {name: rewards[name] for name, weight in lam.items() if weight != 0}
        self.lam = lam
        self.interval, self.top_k, self.stop = interval, top_k, tuple(stop)
        self.ends = end_tokens(model.generation_config, tokenizer)
        self.end_texts = {end: end_text([end], self.ends, tokenizer) for end in self.ends}
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
        batch = left_padded(self.tokenizer, encoded).to(self.model.device)
        inputs, attention = batch["input_ids"], batch["attention_mask"]
        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        kept = DynamicCache(config=self.model.config)
        scorers = self._scorers()
        drawn: list[list[int]] = [[] for _ in encoded]
        logprob = np.zeros(len(encoded))
        alive = list(range(len(encoded)))
        responses: dict[int, Response] = {}
        for step in range(self.sampling.max_new_tokens):
            if self.cached:
                logits = self._next_logits(inputs, attention, positions, kept)
            else:
                whole = [[*encoded[row], *drawn[row]] for row in alive]
                logits = torch.stack([plain_logits(self.model, ids)[-1] for ids in whole])
            tokens, logs = self.choose(
                logits, alive, prompts, drawn, uniform[step, alive],
                scorers if step % self.interval == 0 else {},
            )  # fmt: skip
            going = []
            for place, row in enumerate(alive):
                drawn[row].append(tokens[place])
                logprob[row] += logs[place]
                left = grown is not None and grown(row, drawn[row])
                ended = self._ended(drawn[row])
                if ended or left or step == self.sampling.max_new_tokens - 1:
                    text = self.texts([drawn[row]])[0]
                    responses[row] = Response(drawn[row], text, not ended, float(logprob[row]))
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

    def _next_logits(
        self, inputs: torch.Tensor, attention: torch.Tensor, positions: torch.Tensor, kept: Any
    ) -> torch.Tensor:
        """Logits (b, vocabulary) of the next token; `kept` grows by `inputs`."""
        return _next_logits(self.model, inputs, attention, positions, kept)

    def _scorers(self) -> dict[str, IncrementalScorer]:
        """The rewards of continuations, for the texts of one batch."""
        encoding = SharedEncoding()
        return {
            name: score.incremental(encoding) or full_rescoring(score)
            for name, score in self.rewards.items()
        }

    def choose(
        self,
        logits: torch.Tensor,
        rows: Sequence[int],
        prompts: Sequence[str],
        drawn: Sequence[list[int]],
        uniform: torch.Tensor,
        scorers: Mapping[str, IncrementalScorer],
    ) -> tuple[list[int], list[float]]:
        """Draw the next token of b texts.

        Args:
            logits: the model's, (b, vocabulary).
            rows: which texts of the batch they are.
            prompts: the prompts of the batch.
            drawn: the batch's responses so far, as token ids.
            uniform: b numbers in [0, 1), one per draw.
            scorers: the rewards that guide; none where p0 draws alone.

        Returns:
            The tokens, and their log-probabilities (nats) as they were drawn.
        """
        logs: Any = self.warpers(cast(Any, None), cast(Any, logits))
        logs = logs.double().log_softmax(-1).cpu()
        tokens = torch.arange(logs.shape[1]).expand(len(logs), -1)
        if scorers:
            likeliest = logs.topk(min(self.top_k, logs.shape[1])).indices
            tokens = likeliest.sort(-1).values
            logs = logs.gather(1, tokens)
            logs = logs + self._tilt(rows, prompts, drawn, tokens, logs > -torch.inf, scorers)
            logs = logs.log_softmax(-1)
        cumulative = logs.exp().cumsum(-1)
        points = (uniform[:, None] * cumulative[:, -1:]).contiguous()
        at = torch.searchsorted(cumulative, points, right=True).clamp(max=logs.shape[1] - 1)
        return tokens.gather(1, at)[:, 0].tolist(), logs.gather(1, at)[:, 0].tolist()

    def _tilt(
        self,
        rows: Sequence[int],
        prompts: Sequence[str],
        drawn: Sequence[list[int]],
        tokens: torch.Tensor,
        possible: torch.Tensor,
        scorers: Mapping[str, IncrementalScorer],
    ) -> torch.Tensor:
        """λ·r (b, k) of the continuations; 0 where p0 excludes one."""
        asked = [prompts[row] for row in rows]
        every = iter(
            self.texts(
                [
                    [*drawn[row], token]
                    for row, several in zip(rows, tokens.tolist(), strict=True)
                    for token in several
                ]
            )
        )
        texts = [[next(every) for _ in range(tokens.shape[1])] for _ in rows]
        tilt = torch.zeros(tokens.shape, dtype=torch.float64)
        for reads_end in (False, True):
            chosen = {
                name: score
                for name, score in scorers.items()
                if isinstance(self.rewards[name], EndScore) == reads_end
            }
            if chosen:
                ends = [
                    [
                        self.end_texts.get(token, NO_END) if reads_end else NO_END
                        for token in several
                    ]
                    for several in tokens.tolist()
                ]
                tilt += self._gains(rows, asked, texts, ends, possible, chosen, reads_end)
        return tilt

    def _gains(
        self,
        rows: Sequence[int],
        asked: Sequence[str],
        texts: Sequence[Sequence[str]],
        ends: Sequence[Sequence[str]],
        possible: torch.Tensor,
        scorers: Mapping[str, IncrementalScorer],
        reads_end: bool,
    ) -> torch.Tensor:
        """λ·r (b, k) of some rewards; 0 where p0 excludes a continuation.

        Tokens that give the same text (an end token, spaces) are scored once.
        """
        pairs = [list(zip(*both, strict=True)) for both in zip(texts, ends, strict=True)]
        different = [
            list(dict.fromkeys(pair for pair, may in zip(several, allowed, strict=True) if may))
            for several, allowed in zip(pairs, possible.tolist(), strict=True)
        ]
        read = [[text for text, _ in several] for several in different]
        told = ([[end for _, end in several] for several in different],) if reads_end else ()
        total = [np.zeros(len(several)) for several in different]
        for name, score in scorers.items():
            for place, rewards in enumerate(score(rows, asked, read, *told)):
                check_finite(name, rewards, read[place])
                total[place] += self.lam[name] * rewards
        gains = torch.zeros(possible.shape, dtype=torch.float64)
        for place, several in enumerate(different):
            known = dict(zip(several, total[place].tolist(), strict=True))
            gains[place] = gains.new_tensor([known.get(pair, 0.0) for pair in pairs[place]])
        return gains

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

    The texts are those of `polyalign.rewards.proof`; the last one ends first, two tokens earlier.
    """
    texts = [
        prefix + suffix
        for prefix, suffix in probes(model, tokenizer, max_positions(model))
        if len(prefix) + len(suffix) > 2
    ]
    rows = range(len(texts) - 1)

    def grown() -> np.ndarray:
        kept = DynamicCache(config=model.config)
        batch = left_padded(tokenizer, [ids[:-2] for ids in texts]).to(model.device)
        attention = batch["attention_mask"]
        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        found = [_next_logits(model, batch["input_ids"], attention, positions, kept)]
        kept.batch_select_indices(torch.tensor(rows, device=attention.device))
        attention, positions = attention[list(rows)], positions[list(rows)]
        for cut in (2, 1):
            inputs = torch.tensor([[texts[row][-cut]] for row in rows], device=attention.device)
            attention = torch.cat([attention, attention.new_ones(len(rows), 1)], dim=1)
            positions = positions[:, -1:] + 1
            found.append(_next_logits(model, inputs, attention, positions, kept))
        return torch.cat(found).cpu().numpy()

    read = [
        *(ids[:-2] for ids in texts),
        *(texts[row][:-1] for row in rows),
        *(texts[row] for row in rows),
    ]
    expected = np.array([plain_logits(model, ids)[-1].numpy() for ids in read])
    return proven("a key-value cache", tokenizer.name_or_path, grown, expected, model.dtype)


def full_rescoring(score: Score) -> IncrementalScorer:
    """A reward of whole texts as an incremental one: it reads every continuation in full."""

    def rewards(
        rows: Sequence[int],
        prompts: Sequence[str],
        texts: Sequence[Sequence[str]],
        ends: Sequence[Sequence[str]] | None = None,
    ) -> list[np.ndarray]:
        asked, responses, sizes = unrolled(prompts, texts)
        told: list[str | None] = [None] * len(responses)
        if ends is not None:
            told = [end for several in ends for end in several]
        return split(np.asarray(score_of(score, asked, responses, told), dtype=np.float64), sizes)

    return rewards


def engine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sampling: SamplingRule,
    palette: dict[str, Any],
    *,
    values: dict[str, dict[str, Any]],
    settings: dict[str, Any],
) -> GuidedEngine:
    """The engine that samples a policy of the family token-d.

    It draws new responses, so λ of a palette is the one for K → ∞ (`lam_train`).

    Args:
        model: the base model.
        tokenizer: its tokenizer.
        sampling: the sampling rule of p0.
        palette: the solved palette; empty if the settings have `lam`.
        values: value → settings of its reward function, for the values in λ.
        settings: the policy's settings: those of `GuidedEngine`, and maybe `lam`.

    Raises:
        InputError: if a reward cannot be loaded, or a λ is negative or not finite.
    """
    lam: dict[str, float] = settings.get("lam") or lam_of(palette, "lam_train")
    guidance = {name: setting for name, setting in settings.items() if name != "lam"}
    rewards = load_all({name: values[name] for name, weight in lam.items() if weight != 0})
    return GuidedEngine(model, tokenizer, sampling, rewards, lam, **guidance)
