"""Engines that draw responses to a batch of prompts: transformers, or vLLM if it is installed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Protocol, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from polyalign.data.cut_off import kept
from polyalign.data.packages import resolve
from polyalign.errors import InputError
from polyalign.models.endings import forget_own_rule, sampling_rule, without_end
from polyalign.models.sources import adapter_base, gguf_parts
from polyalign.settings import SamplingRule, Trim


@dataclass(frozen=True)
class Response:
    """One response.

    Attributes:
        ids: its token ids, with the end token if there is one.
        text: its text.
        truncated: whether the token limit ended it.
        logprob: its log-probability (nats) under the policy, if the engine knows it.
        kl: the divergences (nats) of its tokens' distributions from those of the base model, if the
            engine knows them (see `models.logprobs.response_kl`).
    """

    ids: list[int]
    text: str
    truncated: bool
    logprob: float | None = None
    kl: float | None = None


class Engine(Protocol):
    """Draws one response per prompt; the same batch and seed give the same responses."""

    def __call__(
        self, prompts: Sequence[str], encoded: Sequence[list[int]], seed: int
    ) -> list[Response]: ...


def finished(
    ids: Sequence[int], ends: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> Response:
    """The response of token ids, cut after the first end token."""
    end = next((place for place, token in enumerate(ids) if token in ends), None)
    whole = list(ids) if end is None else list(ids[: end + 1])
    text = str(tokenizer.decode(without_end(whole, ends), skip_special_tokens=True)).strip()
    return Response(whole, text, truncated=end is None)


def trimmed(response: Response, trim: Trim) -> Response:
    """A response as the study's rule leaves it: cut back to whole sentences if a limit ended it."""
    return replace(response, text=kept(response.text, trim, cut=response.truncated))


class TransformersEngine:
    """Samples from a loaded model, left-padded, with a key-value cache.

    The model loses its own sampling rule (see `forget_own_rule`).
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: SamplingRule
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.ends = forget_own_rule(model, tokenizer)
        self.rule = sampling_rule(sampling, self.ends, tokenizer)

    def __call__(
        self, prompts: Sequence[str], encoded: Sequence[list[int]], seed: int
    ) -> list[Response]:
        """One response per prompt; `encoded` are the rendered prompts."""
        batch = left_padded(self.tokenizer, encoded).to(self.model.device)
        torch.manual_seed(seed)
        with torch.inference_mode():
            output = cast(Any, self.model).generate(**batch, generation_config=self.rule)
        width = batch["input_ids"].shape[1]
        return [finished(ids, self.ends, self.tokenizer) for ids in output[:, width:].tolist()]


def left_padded(tokenizer: PreTrainedTokenizerBase, encoded: Sequence[list[int]]) -> Any:
    """`input_ids` and `attention_mask`, (b, longest), padded on the left."""
    return tokenizer.pad({"input_ids": list(encoded)}, padding_side="left", return_tensors="pt")


class VllmEngine:
    """Samples with vLLM; log-probabilities are computed by transformers afterwards.

    Args:
        model: `source`, `revision` and `dtype` of the model.
        ends: ids of the tokens that end a response.
        tokenizer: decodes the responses, so that texts do not depend on the engine.
        sampling: the sampling rule.

    Raises:
        InputError: if vLLM is not installed, or the model is an adapter or a GGUF file.
    """

    def __init__(
        self,
        model: dict[str, Any],
        ends: list[int],
        tokenizer: PreTrainedTokenizerBase,
        sampling: SamplingRule,
    ) -> None:
        if find_spec("vllm") is None:
            raise InputError(
                "sampling.engine: vllm is not installed; expected it in the environment of the "
                "job; pip install vllm, or write `engine: transformers`"
            )
        if adapter_base(model["source"]) or gguf_parts(model["source"]):
            raise InputError(
                f"{model['source']}: only transformers samples from adapters and GGUF files; "
                "expected a full model for `engine: vllm`; write `engine: transformers`"
            )
        import vllm

        self.ends, self.tokenizer = ends, tokenizer
        self.vllm: Any = vllm
        self.model = vllm.LLM(
            model=resolve(model["source"]),
            revision=model["revision"],
            dtype=model["dtype"],
            # transformers computes log-probabilities on the same GPU.
            gpu_memory_utilization=0.5,
            generation_config="vllm",
        )
        self.rule = {
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "stop_token_ids": ends,
            "detokenize": False,
        }

    def __call__(
        self, prompts: Sequence[str], encoded: Sequence[list[int]], seed: int
    ) -> list[Response]:
        """One response per prompt; each has a separate seed, so the batch changes nothing."""
        rules = [
            self.vllm.SamplingParams(seed=(seed + row) % 2**63, **self.rule)
            for row in range(len(encoded))
        ]
        asked = [{"prompt_token_ids": ids} for ids in encoded]
        outputs = self.model.generate(asked, rules, use_tqdm=False)
        return [self._response(output.outputs[0]) for output in outputs]

    def _response(self, output: Any) -> Response:
        """The response of vLLM's output, which may lack the token that ended it."""
        ids = list(output.token_ids)
        if output.finish_reason == "stop" and not set(ids) & set(self.ends):
            # Without a reason it was vLLM's own end token, which is the tokenizer's.
            own = self.tokenizer.eos_token_id
            ids.append(output.stop_reason if output.stop_reason in self.ends else own)
        return finished(ids, self.ends, self.tokenizer)
