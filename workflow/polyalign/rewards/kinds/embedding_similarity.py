"""Coherence: cosine similarity of the embeddings of prompt and response."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from polyalign.data.chats import dialogue
from polyalign.models.encoding import pad_with_known
from polyalign.rewards import Score
from polyalign.rewards.batches import Batching, max_tokens, say_cut, score_by_length, stand_in
from polyalign.rewards.spec import ModelSpec, Text, scored_text

if TYPE_CHECKING:
    import torch


class Spec(ModelSpec):
    """Cosine similarity of the embeddings of prompt and response, in [-1, 1]."""

    kind: Literal["embedding_similarity"] = "embedding_similarity"
    text: Text = "response"
    pooling: Literal["mean", "cls"] = Field(
        default="mean",
        description="Embedding of a text: the mean over its tokens, or its first token.",
    )


class Scorer(Score):
    """Loads the encoder of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the model cannot be loaded.
    """

    def __init__(self, spec: Spec) -> None:
        from polyalign.models.block_sparse import block_sparse_above
        from polyalign.models.load import load_encoder, load_tokenizer

        self.spec = spec
        self.was_cut: list[bool] = []
        self.tokenizer = load_tokenizer(spec.model, **spec.trusted())
        self.tokenizer.padding_side = "right"
        self.model = load_encoder(spec.model, **spec.placed())
        pad_with_known(self.tokenizer, self.model)
        # Padding would make a text longer, and so change how it is read.
        self.batching: Batching = "equal" if block_sparse_above(self.model) else "padded"

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Cosine similarity (n,) of n responses, or of the whole texts, to their prompts."""
        prompts = list(map(dialogue, prompts))
        pairs = zip(prompts, responses, strict=True)
        responses = [scored_text(self.spec.text, *pair) for pair in pairs]
        texts = sorted({*prompts, *responses})
        row = {text: number for number, text in enumerate(texts)}
        embeddings, cut = self._embed(texts)
        self.was_cut = [bool(cut & pair) for pair in map(set, zip(prompts, responses, strict=True))]
        left = embeddings[[row[text] for text in prompts]]
        right = embeddings[[row[text] for text in responses]]
        return np.einsum("nd,nd->n", left, right, dtype=np.float64)

    def _embed(self, texts: list[str]) -> tuple[np.ndarray, set[str]]:
        """Embeddings (n, d) of n texts, each of length 1; and the texts that were cut."""
        longest = self.spec.max_length
        limit = max_tokens(self.model, self.tokenizer, longest) or longest
        encoded = list(self.tokenizer(texts, verbose=False)["input_ids"])
        cut = [row for row, ids in enumerate(encoded) if len(ids) > limit]
        for row in cut:
            shortened = self.tokenizer(texts[row], truncation=True, max_length=limit)
            encoded[row] = shortened["input_ids"]
        say_cut(self.spec.model, len(cut), len(texts), limit, "the end")
        items = [ids or [stand_in(self.tokenizer)] for ids in encoded]
        lengths = [len(ids) for ids in items]
        embeddings = score_by_length(
            items, lengths, self.spec.batch_size, self._pooled,
            device=self.model.device, limit=limit, batching=self.batching,
        )  # fmt: skip
        return embeddings, {texts[row] for row in cut}

    def _pooled(self, items: list[list[int]], width: int) -> "torch.Tensor":
        """Embeddings (b, d) of b texts, padded to `width`."""
        batch = self.tokenizer.pad(
            {"input_ids": items}, padding="max_length", max_length=width, return_tensors="pt"
        ).to(self.model.device)
        hidden = self.model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1)
        pooled: torch.Tensor = hidden[:, 0]
        if self.spec.pooling == "mean":
            pooled = (hidden * mask).sum(1) / mask.sum(1)
        return pooled / pooled.norm(dim=-1, keepdim=True)
