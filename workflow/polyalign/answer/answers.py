"""Answers to prompts: sampled, guided or chosen exactly as the study does, with their rewards."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from polyalign import rewards
from polyalign.answer.ways import NOT_YET, Asked, Way
from polyalign.data.keys import batch_seed
from polyalign.errors import InputError
from polyalign.families import BASE, POOL, VALUE, Policy
from polyalign.map.dual import policy_weights
from polyalign.models.encoding import max_positions, prompt_ids
from polyalign.models.endings import end_text, end_tokens
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.models.logprobs import warpers
from polyalign.models.value_model import ValueModel, load_value_model
from polyalign.paths import Paths
from polyalign.plan.resources import responses_at_once
from polyalign.sampling.beams import beam_search
from polyalign.sampling.drawing import DrawingEngine, uniforms
from polyalign.sampling.engines import Response, trimmed
from polyalign.sampling.guided import GuidedEngine
from polyalign.sampling.valued import tilted_engine
from polyalign.settings import SamplingRule
from polyalign.study import Study

Told = Callable[[int, int, str], None]
"""Is told the number of a request, the number of its answer, and its text so far."""

Gone = Callable[[int], bool]
"""Whether nobody waits any more for the answer to a request, by its number."""

Kind = tuple[Any, SamplingRule, int]
"""What draws responses together: the key of a way, its rule, and its beams."""

MOST_TILTED = 4
"""Most copies of the base model that are kept: one for each λ that the value model draws with."""


@dataclass(frozen=True)
class Text:
    """One response with its rewards.

    Attributes:
        response: its text.
        end_token: the token that ended it, as text; empty if there is none.
        truncated: whether the token limit ended it.
        tokens: its length in tokens, end token included.
        rewards: value → reward, in the reward's units.
    """

    response: str
    end_token: str
    truncated: bool
    tokens: int
    rewards: dict[str, float]


@dataclass(frozen=True)
class Answer:
    """The answers to one request.

    Attributes:
        asked: the request.
        prompt_tokens: length of the prompt with its template.
        texts: the answers; none if nobody waited for them to the end.
        candidates: what they were chosen among; empty if they were drawn.
        probabilities: of each candidate to be chosen.
    """

    asked: Asked
    prompt_tokens: int
    texts: list[Text]
    candidates: list[Text]
    probabilities: list[float]


@dataclass(frozen=True)
class _Loaded:
    """A model with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class _Row:
    """A response to draw: of which request, the how manieth, its prompt, and its seed."""

    request: int
    place: int
    prompt: str
    ids: list[int]
    seed: int


class Answerer:
    """Answers prompts by the ways of a study. λ is part of a request, and loads nothing.

    The base model and the rewards are loaded at once, a trained model when it is first asked; they
    stay in memory. One thread at a time may use it.

    Args:
        study: the study; its models are made.
        most_tokens: most tokens of a prompt with its template (None: what the model takes).
        bits: 4 or 8 for language models whose weights have so few (None: as the study says).

    Raises:
        InputError: if a model is not made yet or cannot be loaded.
    """

    def __init__(
        self, study: Study, most_tokens: int | None = None, bits: int | None = None
    ) -> None:
        assert study.model is not None, "enter_study refuses a study from scores alone"
        self.study, self.most_tokens = study, most_tokens
        self.base_settings = {**study.model.model_dump(), "bits": bits}
        self.template = study.prompts.template
        self.sampling = SamplingRule(
            **study.sampling.model_dump(include={*SamplingRule.model_fields})
        )
        self.at_once = responses_at_once(study)
        scorers = {value: study.scorer(value) for value in study.values}
        for what, source in (
            ("the base model", study.model.source),
            *(
                (f"the model of value {value!r}", one.get("model"))
                for value, one in scorers.items()
            ),
        ):
            _check_made(study, what, source)
        self.scores = rewards.load_all(scorers)
        self.most_scored = {value: spec.AT_ONCE for value, spec in study.values.items()}
        self._models: dict[str, _Loaded] = {}
        self._engines: dict[Any, DrawingEngine] = {}
        self._tilted: dict[Any, DrawingEngine] = {}
        self._value_model: ValueModel | None = None
        self._engine(Way(BASE.name, "sample"))

    def check(self, asked: Asked) -> list[int]:
        """Token ids of the prompt of a request, in its template.

        Raises:
            InputError: if it leaves no room for an answer, or its model cannot be loaded.
        """
        if asked.way.kind == "learnt" and self.base_settings["bits"] is not None:
            raise InputError(
                "value-d adds to the weights of the base model, which are in few bits; expected "
                "whole ones; leave --bits out, or take a palette or a policy of another family"
            )
        loaded = self._loaded(asked.way.model)
        if asked.text is None:
            ids = prompt_ids(loaded.tokenizer, self.template, asked.prompt)
        else:
            ids = prompt_ids(loaded.tokenizer, "{prompt}", asked.text)
        rule = asked.rule or self.sampling
        new, positions = rule.max_new_tokens, max_positions(loaded.model)
        limits = [None if positions is None else positions - new, self.most_tokens]
        most = min((limit for limit in limits if limit is not None), default=None)
        if most is not None and len(ids) > most:
            raise InputError(
                f"the prompt has {len(ids)} tokens with its template; expected at most {most}, "
                f"since an answer may have {new} more; shorten it"
            )
        return ids

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base model's tokenizer, which trained policies share."""
        return self._loaded(BASE).tokenizer

    def answer(
        self, asked: Sequence[Asked], told: Told | None = None, gone: Gone | None = None
    ) -> list[Answer]:
        """Answer several requests, in batches that they share.

        Each response has its own seed, which depends on the request's seed, the policy and the
        response's number. So an answer does not depend on what else is asked, up to the rounding of
        a model's numbers, and more candidates begin with the same ones.

        Args:
            asked: the requests, as `polyalign.answer.ways.ask` makes them.
            told: is told of answers that are drawn while they grow; never of chosen ones.
            gone: is asked after every token. What nobody waits for is not drawn to its end.

        Raises:
            InputError: if a prompt is too long, a model cannot be loaded, or a reward is not a
                finite number.
        """
        encoded = [self.check(one) for one in asked]
        drawn = self._draw(asked, encoded, told, gone or (lambda _: False))
        asked_prompts = [
            one.prompt for one, several in zip(asked, drawn, strict=True) for _ in several
        ]
        texts = [text for several in drawn for text in several]
        found = self._rewards(asked_prompts, texts)
        scored = iter(
            Text(text.response, text.end_token, text.truncated, text.tokens, of_text)
            for text, of_text in zip(texts, found, strict=True)
        )
        return [
            self._chosen(one, len(ids), [next(scored) for _ in several])
            for one, ids, several in zip(asked, encoded, drawn, strict=True)
        ]

    def _draw(
        self,
        asked: Sequence[Asked],
        encoded: Sequence[list[int]],
        told: Told | None,
        gone: Gone,
    ) -> list[list[Text]]:
        """The responses of each request, without rewards; none where nobody waits any more."""
        by_kind: dict[Kind, list[_Row]] = {}
        ways: dict[Any, Way] = {}
        drawn: list[list[Any]] = []
        for number, (one, ids) in enumerate(zip(asked, encoded, strict=True)):
            # Candidates are the base model's, whatever is chosen among them.
            way = Way(BASE.name, "sample") if one.way.chooses else one.way
            stream = POOL.name if one.way.chooses else one.way.name
            count = one.candidates or one.samples
            ways[way.key] = way
            by_kind.setdefault((way.key, one.rule or self.sampling, one.beams), []).extend(
                _Row(number, place, one.prompt, ids, batch_seed(one.seed, stream, place))
                for place in range(count)
            )
            drawn.append([None] * count)
        for (key, rule, beams), rows in by_kind.items():
            engine = _with_rule(self._engine(ways[key]), rule)
            ends = end_tokens(engine.model.generation_config, engine.tokenizer)
            rows.sort(key=lambda row: len(row.ids))
            for start in range(0, len(rows), self.at_once):
                batch = [row for row in rows[start : start + self.at_once] if not gone(row.request)]
                if beams > 1:
                    responses = beam_search(
                        engine.model, engine.tokenizer, rule, [row.ids for row in batch], beams
                    )
                else:
                    responses = self._batch(engine, batch, asked, told, gone) if batch else []
                for row, drawn_whole in zip(batch, responses, strict=True):
                    response = trimmed(drawn_whole, rule.trim)
                    end = end_text(response.ids, ends, engine.tokenizer)
                    drawn[row.request][row.place] = Text(
                        response.text, end, response.truncated, len(response.ids), {}
                    )
        return [[] if gone(number) else several for number, several in enumerate(drawn)]

    def _batch(
        self,
        engine: DrawingEngine,
        rows: list[_Row],
        asked: Sequence[Asked],
        told: Told | None,
        gone: Gone,
    ) -> list[Response]:
        """The responses of one batch."""

        def grown(place: int, ids: list[int]) -> bool:
            row = rows[place]
            # What is written may have to be taken back: at a stop text, or by `trim`.
            taken_back = bool(engine.stop) or engine.sampling.trim is not None
            if told is not None and not taken_back and not asked[row.request].way.chooses:
                told(row.request, row.place, engine.texts([ids])[0])
            return gone(row.request)

        uniform = [uniforms(row.seed, engine.sampling.max_new_tokens, 1) for row in rows]
        prompts, ids = [row.prompt for row in rows], [row.ids for row in rows]
        return engine.draw(prompts, ids, torch.cat(uniform, dim=1), grown)

    def _rewards(self, prompts: list[str], texts: Sequence[Text]) -> list[dict[str, float]]:
        """Value → reward of each response."""
        responses, ends = [text.response for text in texts], [text.end_token for text in texts]
        found: list[dict[str, float]] = [{} for _ in texts]
        if not texts:
            return found
        for value, score in self.scores.items():
            # As annotation does: some functions are called with few texts at once.
            most = self.most_scored[value]
            parts = [slice(start, start + most) for start in range(0, len(texts), most)]
            scores = np.concatenate(
                [rewards.score_of(score, prompts[at], responses[at], ends[at]) for at in parts]
            ).astype(np.float64)
            rewards.check_finite(value, scores, responses)
            for of_text, reward in zip(found, scores.tolist(), strict=True):
                of_text[value] = reward
        return found

    def _chosen(self, asked: Asked, prompt_tokens: int, texts: list[Text]) -> Answer:
        """The answer to one request: what was drawn, or what is chosen among it."""
        if not asked.way.chooses or not texts:
            return Answer(asked, prompt_tokens, texts, [], [])
        weights = selection_weights(texts, asked.way)
        generator = np.random.default_rng(batch_seed(asked.seed, asked.way.name, 0))
        places = generator.choice(len(texts), size=asked.samples, p=weights).tolist()
        return Answer(
            asked, prompt_tokens, [texts[place] for place in places], texts, weights.tolist()
        )

    def _engine(self, way: Way) -> DrawingEngine:
        """What draws from a model; without λ that is the model with the study's sampling rule."""
        if way.kind == "learnt":
            return self._tilted_engine(way)
        if way.key not in self._engines:
            loaded = self._loaded(way.model)
            guidance: dict[str, Any] = {"interval": 1, "top_k": 1, "stop": (), **way.guidance}
            self._engines[way.key] = GuidedEngine(
                loaded.model, loaded.tokenizer, self.sampling, self.scores, way.lam, **guidance
            )
        return self._engines[way.key]

    def _tilted_engine(self, way: Way) -> DrawingEngine:
        """What draws with the value model at the λ of a way; the last few are kept."""
        engine = self._tilted.pop(way.key, None)
        if engine is None:
            base = self._loaded(BASE)
            if self._value_model is None:
                folder = Paths(self.study.study).model(VALUE)
                self._value_model = load_value_model(folder, base.model)
            # Room is made first, so that there is never one copy more.
            while len(self._tilted) >= MOST_TILTED:
                del self._tilted[next(iter(self._tilted))]
            engine = tilted_engine(
                self._value_model, base.model, base.tokenizer, self.sampling, way.lam
            )
        self._tilted[way.key] = engine
        return engine

    def _loaded(self, policy: Policy) -> _Loaded:
        """The model of a trained policy or of the base model, loaded once."""
        if policy.name not in self._models:
            settings = self.base_settings
            if policy.name != BASE.name:
                source = Paths(self.study.study).model(policy)
                settings = {**settings, "source": source, "revision": None}
            self._models[policy.name] = _Loaded(
                load_causal_lm(**settings),
                load_tokenizer(settings["source"], revision=settings["revision"]),
            )
        return self._models[policy.name]


def _with_rule(engine: DrawingEngine, rule: SamplingRule) -> DrawingEngine:
    """The same engine with another sampling rule."""
    if rule == engine.sampling:
        return engine
    other = copy(engine)
    other.sampling, other.warpers = rule, warpers(rule)
    return other


def selection_weights(candidates: Sequence[Text], way: Way) -> np.ndarray:
    """Probability (K,) of each candidate of one prompt to be chosen.

    As `polyalign.sampling.select` has it for every prompt of a pool.

    Args:
        candidates: K responses with their rewards.
        way: `tilt`, or `best`, which is as likely for all that are best.
    """
    lam = np.array(list(way.lam.values()))
    table = np.array([[text.rewards[value] for value in way.lam] for text in candidates])
    if way.kind == "best":
        score = table @ lam
        best = (score == score.max()).astype(np.float64)
        return best / best.sum()
    return policy_weights(table, lam, groups=np.zeros(len(table), np.int64), scope="prompt")


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as JSON has it: the command prints it, and the server sends it."""

    def of_text(text: Text) -> dict[str, Any]:
        return {
            "response": text.response,
            "rewards": text.rewards,
            "tokens": text.tokens,
            "truncated": text.truncated,
        }

    way = answer.asked.way
    chosen = zip(answer.candidates, answer.probabilities, strict=True)
    return {
        "policy": way.name,
        "seed": answer.asked.seed,
        "lam": dict(way.lam),
        "answers": [of_text(text) for text in answer.texts],
        "candidates": [{**of_text(text), "probability": p} for text, p in chosen],
    }


def _check_made(study: Study, what: str, source: str | None) -> None:
    """Raise InputError if the workflow makes a model and has not made it yet."""
    if source and Paths(study.study).makes(source) and not Path(f"{source}.json").is_file():
        raise InputError(f"{what} ({source}) {NOT_YET.format('trained')}")
