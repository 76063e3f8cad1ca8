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

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from polyalign.models.endings import NO_END, end_text
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
from polyalign.sampling.drawing import Choose, DrawingEngine, NextTokens, drawn_at
from polyalign.settings import SamplingRule


class GuidedEngine(DrawingEngine):
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
        super().__init__(model, tokenizer, sampling, stop)
        self.rewards = {name: rewards[name] for name, weight in lam.items() if weight != 0}
        self.lam = lam
        self.interval, self.top_k = interval, top_k
        self.end_texts = {end: end_text([end], self.ends, tokenizer) for end in self.ends}

    def chooser(self, prompts: Sequence[str], drawn: Sequence[list[int]]) -> Choose:
        """As for any engine; every `interval`-th token is guided.

        Raises:
            InputError: if a reward is not a finite number.
        """
        scorers = self._scorers()

        def choose(
            step: int, rows: Sequence[int], logits: torch.Tensor, uniform: torch.Tensor
        ) -> NextTokens:
            guides = scorers if step % self.interval == 0 else {}
            return self.choose(logits, rows, prompts, drawn, uniform, guides)

        return choose

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
    ) -> NextTokens:
        """Draw the next token of b texts.

        Args:
            logits: the model's, (b, vocabulary).
            rows: which texts of the batch they are.
            prompts: the prompts of the batch.
            drawn: the batch's responses so far, as token ids.
            uniform: b numbers in [0, 1), one per draw.
            scorers: the rewards that guide; none where p0 draws alone.

        Returns:
            The tokens, with the divergence from p0 where rewards guide the engine at all.
        """
        if not scorers:
            alone = self.plain(logits, uniform)
            return replace(alone, kl=[0.0] * len(rows)) if self.rewards else alone
        logs: Any = self.warpers(cast(Any, None), cast(Any, logits))
        logs = logs.double().log_softmax(-1).cpu()
        likeliest = logs.topk(min(self.top_k, logs.shape[1])).indices
        tokens = likeliest.sort(-1).values
        base = logs.gather(1, tokens)
        logs = base + self._tilt(rows, prompts, drawn, tokens, base > -torch.inf, scorers)
        logs = logs.log_softmax(-1)
        at = drawn_at(logs.exp().cumsum(-1), uniform)
        spent = (logs.exp() * (logs - base)).masked_fill(base == -torch.inf, 0.0).sum(-1)
        return NextTokens(
            tokens.gather(1, at)[:, 0].tolist(),
            logs.gather(1, at)[:, 0].tolist(),
            spent.tolist(),
        )

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
