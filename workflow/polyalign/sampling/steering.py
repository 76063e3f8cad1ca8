"""λ of a guided policy that realises the levels asked: moved until its own answers have them.

The value model is not exact, so that at the palette's λ for training its policy falls short of
the levels. λ costs nothing to change here. So answers to prompts of the split `fit` are drawn with
one λ after another and scored, and each round takes the step of dual ascent that training by
reinforcement learning takes (`polyalign.train.closed_loop`). A policy at a new λ is there at once,
so no correction for a lag is due.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from polyalign.data.keys import batch_seed
from polyalign.errors import InputError
from polyalign.families.value_d import ANSWERS, ROUNDS
from polyalign.models.encoding import check_lengths, max_positions, prompt_ids
from polyalign.models.endings import end_text
from polyalign.models.value_model import ValueModel
from polyalign.rewards import Score, check_finite, score_of
from polyalign.sampling.drawing import DrawingEngine
from polyalign.sampling.engines import trimmed
from polyalign.sampling.valued import tilted_engine
from polyalign.settings import SamplingRule
from polyalign.train.closed_loop import ClosedLoop, aim_of

Measure = Callable[[Mapping[str, float], int], Mapping[str, float]]
"""Value → level of the answers that are drawn with λ in a round, told by its number."""


def steered(palette: Mapping[str, Any], measure: Measure) -> dict[str, Any]:
    """λ with which a policy realises a palette.

    Args:
        palette: the solved palette, whose λ for training is the start.
        measure: draws and scores answers; the levels of all values of the palette.

    Returns:
        `palette`, its name; `lam`, value → λ; `closed_loop`, how the loop ended, see
        `ClosedLoop.record`; `rounds`, what λ and levels were in each. A palette that the base model
        meets has λ = 0, and no rounds.
    """
    aim = aim_of(palette)
    loop = ClosedLoop(aim, ROUNDS)
    rounds = []
    for number in range(ROUNDS if aim.start.any() else 0):
        lam = loop.named_lam()
        levels = measure(lam, number)
        loop.update(np.array([levels[value] for value in aim.values]), np.zeros(len(aim.values)))
        rounds.append({"lam": lam, "levels": dict(levels)})
    ended = loop.record() if rounds else {}
    lam = ended.get("lam", loop.named_lam())
    return {"palette": palette["palette"], "lam": lam, "closed_loop": ended, "rounds": rounds}


class Drawn:
    """A `Measure` by drawing: all prompts in shuffled passes, `ANSWERS` of them in each round.

    Args:
        learnt: the value model.
        model: the base model.
        tokenizer: its tokenizer.
        rewards: value → reward function.
        prompts: n prompts, without template.
        policy: `family/variant`; the seeds depend on it.
        template: text around a prompt.
        sampling: the sampling rule of p0.
        batch_size: answers drawn at once.
        seed: of the policy.

    Raises:
        InputError: if there are no prompts, or some leave no room for a response.
    """

    def __init__(
        self,
        learnt: ValueModel,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rewards: Mapping[str, Score],
        prompts: Sequence[str],
        *,
        policy: str,
        template: str,
        sampling: SamplingRule,
        batch_size: int,
        seed: int,
    ) -> None:
        if not prompts:
            raise InputError(
                f"{policy}: no prompts to move λ on; expected some in the split `fit`; lower "
                "prompts.test_share, or set policies.value-d.adapt to false"
            )
        self.learnt, self.model, self.tokenizer, self.rewards = learnt, model, tokenizer, rewards
        self.policy, self.sampling, self.batch_size, self.seed = policy, sampling, batch_size, seed
        rng, number = np.random.default_rng(seed), len(prompts)
        passes = [rng.permutation(number) for _ in range(-(-ROUNDS * ANSWERS // number))]
        self.order: list[int] = np.concatenate(passes).tolist()
        self.prompts = list(prompts)
        self.encoded = [prompt_ids(tokenizer, template, text) for text in prompts]
        check_lengths(
            self.prompts, self.encoded, source=policy,
            positions=max_positions(model), new_tokens=sampling.max_new_tokens,
        )  # fmt: skip

    def __call__(self, lam: Mapping[str, float], number: int) -> dict[str, float]:
        """The levels of the answers of a round."""
        chosen = self.order[number * ANSWERS : (number + 1) * ANSWERS]
        chosen.sort(key=lambda place: len(self.encoded[place]))
        engine = tilted_engine(self.learnt, self.model, self.tokenizer, self.sampling, lam)
        texts: list[str] = []
        ends: list[str | None] = []
        for start in range(0, len(chosen), self.batch_size):
            batch = chosen[start : start + self.batch_size]
            seed = batch_seed(self.seed, f"{self.policy}/steer-{number}", start)
            self._draw(engine, batch, seed, texts, ends)
        asked = [self.prompts[place] for place in chosen]
        levels = {}
        for value, score in self.rewards.items():
            rewards = np.asarray(score_of(score, asked, texts, ends), dtype=np.float64)
            check_finite(value, rewards, texts)
            levels[value] = float(rewards.mean())
        return levels

    def _draw(
        self,
        engine: DrawingEngine,
        batch: list[int],
        seed: int,
        texts: list[str],
        ends: list[str | None],
    ) -> None:
        """Draw one answer to each prompt of a batch; add their texts and end tokens."""
        asked, encoded = [self.prompts[at] for at in batch], [self.encoded[at] for at in batch]
        for response in engine(asked, encoded, seed):
            texts.append(trimmed(response, self.sampling.trim).text)
            ends.append(end_text(response.ids, engine.ends, self.tokenizer))
