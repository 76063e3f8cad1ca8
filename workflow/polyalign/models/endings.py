"""End tokens of responses, the only thing that sampling takes from a model's generation_config."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from polyalign.models.encoding import after_answer
from polyalign.settings import SamplingRule

NO_END = ""
"""The end token of a response that has none: the token limit or a stop text ended it."""


def end_tokens(named: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that end a response: those that the model names, then the tokenizer's.

    Many chat models name several (`<end_of_turn>` and `<eos>`), and a tokenizer's own may be one
    that the model never writes.

    Args:
        named: the model's generation_config, if it has one.
        tokenizer: of the model.
    """
    own = named.eos_token_id if named else None
    ids = list(own) if isinstance(own, list) else [own]
    return list(dict.fromkeys(id for id in [*ids, tokenizer.eos_token_id] if id is not None))


def forget_own_rule(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Take the model's own sampling rule away, and return its end tokens.

    `generate` fills every field that a rule leaves open from the model's generation_config: a
    repetition penalty, min_p, suppressed tokens, beams. Then it would sample from another policy
    than the one whose log-probabilities are computed. A model that is saved is saved without them.
    """
    own = model.generation_config
    ends = end_tokens(own, tokenizer)
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id if own else None,
        eos_token_id=ends if len(ends) > 1 else next(iter(ends), None),
        pad_token_id=tokenizer.pad_token_id,
    )
    return ends


def sampling_rule(
    sampling: SamplingRule, ends: list[int], tokenizer: PreTrainedTokenizerBase
) -> GenerationConfig:
    """The configuration with which `generate` samples, after `forget_own_rule`."""
    return GenerationConfig(
        do_sample=True,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=tokenizer.pad_token_id,
    )


def end_text(ids: Sequence[int], ends: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The end token that a response ends with, as text; `NO_END` if it has none.

    Args:
        ids: token ids of the response.
        ends: ids of the end tokens.
        tokenizer: gives a token its text.
    """
    return str(tokenizer.convert_ids_to_tokens(ids[-1])) if ids and ids[-1] in ends else NO_END


def without_end(ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    """A response's token ids without its end token, which is no text even if it is not special."""
    return list(ids[:-1] if ids and ids[-1] in ends else ids)


@dataclass(frozen=True)
class Endings:
    """How responses end for a model.

    Attributes:
        tokenizer: of the model.
        ids: its end tokens.
        usual: the one that follows an answer in its template; None if it has no end token.
    """

    tokenizer: PreTrainedTokenizerBase
    ids: list[int]
    usual: int | None

    def id_of(self, end: str | None) -> int | None:
        """Id of the end token of a response; None if it has none.

        Args:
            end: the token that was sampled, as text; `NO_END` if there was none; None if nobody
                knows how the response ended, as in a data set. That one, and a token of another
                model, becomes the usual one.
        """
        if end == NO_END:
            return None
        known: Any = None if end is None else self.tokenizer.convert_tokens_to_ids(end)
        return known if known in self.ids else self.usual

    @property
    def usual_text(self) -> str:
        """The usual end token as text; `NO_END` if there is none."""
        known = [] if self.usual is None else [self.usual]
        return end_text(known, known, self.tokenizer)


def endings(
    named: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase, template: str
) -> Endings:
    """How responses end for a model that reads prompts in a template.

    The usual end token is the first one after an answer in the chat template, or after the prompt
    in a template that is written out (`<|end|>` in `<|user|>{prompt}<|end|><|assistant|>`); else
    the tokenizer's own, or the first that the model names. An encoder such as BERT has none: its
    separator ends texts.

    Args:
        named: the model's generation_config, if it has one.
        tokenizer: of the model.
        template: text around a prompt, with `{prompt}`, or `chat`.
    """
    separator: Any = tokenizer.sep_token_id
    ids = end_tokens(named, tokenizer) or ([] if separator is None else [separator])
    texts: dict[str, int] = {str(tokenizer.convert_ids_to_tokens(id)): id for id in ids}
    after = after_answer(tokenizer, template)
    found = sorted(
        (after.index(text), -len(text), id) for text, id in texts.items() if text in after
    )
    own = tokenizer.eos_token_id
    usual = found[0][2] if found else own if own is not None else next(iter(ids), None)
    return Endings(tokenizer, ids, usual)
