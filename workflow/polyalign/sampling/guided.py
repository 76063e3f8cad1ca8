"""Token-level guidance: λ·r steers the sampling itself, one token ahead.

At every `interval`-th token the k likeliest continuations v of the text y so far are scored, and
the next token is drawn from

    p(v | x, y) ∝ p0(v | x, y) exp(λ·r(x, yv)),

p0 being the base policy with its sampling rule; between these tokens p0 draws alone. (The score of
y itself would cancel.) What this samples:

- With k the whole vocabulary, `interval` 1, and as the reward of an unfinished text its soft value
  log E_p0[exp(λ·r(x, whole response)) | yv], it is p_λ ∝ p0 exp(λ·r) exactly: the factors telescope
  to the reward of the whole response.
- Rewards score the text so far as if it were whole. That is exact for responses of one token, and
  an approximation else: each step is normalised by itself, so λ is spent again at every step, and
  levels and KL may lie on either side of those of p_λ. They are measured like any policy's.
- A reward that is 0 until the response ends tilts its last token alone.

So the log-probability that goes with a response is its own under this process, and the KL to the
base model that follows from it is right, whatever the rewards.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from polyalign.errors import InputError
from polyalign.models.logprobs import warpers
from polyalign.palettes.record import lam_of
from polyalign.rewards import Score, load
from polyalign.rewards.incremental import Follower
from polyalign.sampling.engines import Response, end_tokens, left_padded
from polyalign.settings import SamplingRule


def uniforms(seed: int, tokens: int, texts: int) -> torch.Tensor:
    """The numbers in [0, 1) that a batch's draws are made with, float64 (tokens, texts).

    All at once, so that the draws of one text do not depend on when the others end.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((tokens, texts), generator=generator, dtype=torch.float64)


class GuidedEngine:
    """Draws responses with token-level guidance, a batch of prompts at a time.

    The language model runs with a key-value cache and forgets texts that have ended. So do rewards
    that can (`values._follow`); the others read every different continuation whole.

    Args:
        model: the base model.
        tokenizer: its tokenizer.
        sampling: the sampling rule of p0.
        rewards: value → reward function.
        lam: value → weight λ ≥ 0; values without weight are not scored.
        interval: guide at every so many tokens, from the first on.
        top_k: continuations that are scored and may be drawn there.
        stop: texts before which a response ends.

    Raises:
        InputError: if a λ is negative or not finite, or has no reward function.
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
        for name, weight in lam.items():
            if not np.isfinite(weight) or weight < 0 or (weight > 0 and name not in rewards):
                raise InputError(
                    f"λ of '{name}' is {weight}; expected a finite number >= 0 and a reward "
                    f"function (there are {', '.join(sorted(rewards))})"
                )
        self.model, self.tokenizer = model, tokenizer
        self.sampling, self.warpers = sampling, warpers(sampling)
        self.rewards = {name: rewards[name] for name, weight in lam.items() if weight > 0}
        self.lam = lam
        self.interval, self.top_k, self.stop = interval, top_k, tuple(stop)
        self.ends = end_tokens(model, tokenizer)

    @torch.inference_mode()
    def __call__(
        self, prompts: Sequence[str], encoded: Sequence[list[int]], seed: int
    ) -> list[Response]:
        """One response a prompt; `encoded` are the rendered prompts.

        Raises:
            InputError: if a reward is not a finite number.
        """
        uniform = uniforms(seed, self.sampling.max_new_tokens, len(encoded))
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
            logits = self._next_logits(inputs, attention, positions, kept)
            tokens, logs = self.choose(
                logits, alive, prompts, drawn, uniform[step, alive],
                scorers if step % self.interval == 0 else {},
            )  # fmt: skip
            going = []
            for place, row in enumerate(alive):
                drawn[row].append(tokens[place])
                logprob[row] += logs[place]
                ended = self._ended(drawn[row])
                if ended or step == self.sampling.max_new_tokens - 1:
                    text = self.texts([drawn[row]])[0]
                    responses[row] = Response(drawn[row], text, not ended, float(logprob[row]))
                else:
                    going.append(place)
            if not going:
                break
            if len(going) < len(alive):
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
        output = cast(Any, self.model)(
            input_ids=inputs,
            attention_mask=attention,
            position_ids=positions,
            past_key_values=kept,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _scorers(self) -> dict[str, Follower]:
        """The rewards as they are asked for the continuations of one batch's texts."""
        return {
            name: getattr(score, "follow", lambda: None)() or reading_anew(score)
            for name, score in self.rewards.items()
        }

    def choose(
        self,
        logits: torch.Tensor,
        rows: Sequence[int],
        prompts: Sequence[str],
        drawn: Sequence[list[int]],
        uniform: torch.Tensor,
        scorers: Mapping[str, Follower],
    ) -> tuple[list[int], list[float]]:
        """Draw the next token of b texts.

        Args:
            logits: the model's, (b, vocabulary).
            rows: which texts of the batch they are.
            prompts: the prompts of the batch.
            drawn: the batch's responses so far, as token ids.
            uniform: b numbers in [0, 1), one a draw.
            scorers: the rewards that have a say; none where p0 draws alone.

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
        scorers: Mapping[str, Follower],
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
        # Tokens that say the same (an end token, spaces) are scored once.
        different = [
            list(dict.fromkeys(text for text, may in zip(several, allowed, strict=True) if may))
            for several, allowed in zip(texts, possible.tolist(), strict=True)
        ]
        total = [np.zeros(len(several)) for several in different]
        for name, score in scorers.items():
            for place, rewards in enumerate(score(rows, asked, different)):
                _check_finite(name, rewards, different[place])
                total[place] += self.lam[name] * rewards
        tilt = torch.zeros(tokens.shape, dtype=torch.float64)
        for place, several in enumerate(different):
            gains = dict(zip(several, total[place].tolist(), strict=True))
            tilt[place] = tilt.new_tensor([gains.get(text, 0.0) for text in texts[place]])
        return tilt

    def texts(self, responses: Sequence[list[int]]) -> list[str]:
        """What responses say, stripped, up to the first stop text."""
        texts = self.tokenizer.batch_decode(list(responses), skip_special_tokens=True)
        for stop in self.stop:
            texts = [text.partition(stop)[0] for text in texts]
        return [text.strip() for text in texts]

    def _ended(self, ids: list[int]) -> bool:
        if ids[-1] in self.ends:
            return True
        text = self.tokenizer.decode(ids, skip_special_tokens=True) if self.stop else ""
        return any(stop in text for stop in self.stop)


def reading_anew(score: Score) -> Follower:
    """A reward function as a follower that reads every continuation from its beginning."""

    def rewards(
        rows: Sequence[int], prompts: Sequence[str], texts: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        sizes = [len(several) for several in texts]
        asked = [prompt for prompt, size in zip(prompts, sizes, strict=True) for _ in range(size)]
        found = score(asked, [text for several in texts for text in several])
        return np.split(np.asarray(found, dtype=np.float64), np.cumsum(sizes)[:-1])

    return rewards


def _check_finite(name: str, rewards: np.ndarray, texts: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(rewards))
    if bad.size:
        raise InputError(
            f"value '{name}' is {rewards[bad[0]]} for the text {texts[bad[0]]!r}; expected a "
            "finite number: mend the reward or take the value out of the palette"
        )


def engine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sampling: SamplingRule,
    palette: dict[str, Any],
    *,
    values: dict[str, dict[str, Any]],
    settings: dict[str, Any],
) -> GuidedEngine:
    """The engine that samples the policy.

    It draws fresh responses, so a palette's λ is the one for an endless pool (`lam_train`).

    Args:
        model: the base model.
        tokenizer: its tokenizer.
        sampling: how p0 samples.
        palette: the solved palette; empty where the settings have `lam`.
        values: value → settings of its reward function, for the values that λ weighs.
        settings: the policy's settings.
    """
    lam = settings.get("lam") or lam_of(palette, "lam_train")
    guidance = {name: setting for name, setting in settings.items() if name != "lam"}
    rewards = {name: load(values[name]) for name, weight in lam.items() if weight > 0}
    return GuidedEngine(model, tokenizer, sampling, rewards, lam, **guidance)
