"""Coherence: cosine similarity of the embeddings of prompt and response."""

from typing import Literal

import numpy as np
from pydantic import Field

from polyalign.rewards.batches import room, score_by_length
from polyalign.rewards.spec import ModelSpec


class Spec(ModelSpec):
    """Cosine similarity of the embeddings of prompt and response, in [-1, 1]."""

    kind: Literal["embedding_similarity"] = "embedding_similarity"
    pooling: Literal["mean", "cls"] = Field(
        default="mean",
        description="Embedding of a text: the mean over its tokens, or its first token.",
    )


class Scorer:
    """Loads the encoder of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the model cannot be loaded.
    """

    def __init__(self, spec: Spec) -> None:
        from polyalign.models.load import load_encoder, load_tokenizer

        self.spec = spec
        self.tokenizer = load_tokenizer(spec.model, revision=spec.revision)
        self.tokenizer.padding_side = "right"
        self.model = load_encoder(spec.model, **spec.placed())

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Cosine similarity (n,) of n responses to their prompts."""
        texts = sorted({*prompts, *responses})
        embeddings = dict(zip(texts, self._embed(texts), strict=True))
        left = np.stack([embeddings[text] for text in prompts])
        right = np.stack([embeddings[text] for text in responses])
        return np.einsum("nd,nd->n", left, right, dtype=np.float64)

    def _embed(self, texts: list[str]) -> list[np.ndarray]:
        vectors: dict[int, np.ndarray] = {}
        spec, limit = self.spec, room(self.model, self.tokenizer, self.spec.max_length)
        items = self.tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        lengths = [len(ids) for ids in items]

        def score(rows, width):  # type: ignore[no-untyped-def]
            batch = self.tokenizer.pad(
                {"input_ids": [items[row] for row in rows]},
                padding="max_length",
                max_length=width,
                return_tensors="pt",
            ).to(self.model.device)
            hidden = self.model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = hidden[:, 0]
            if spec.pooling == "mean":
                pooled = (hidden * mask).sum(1) / mask.sum(1)
            unit = pooled / pooled.norm(dim=-1, keepdim=True)
            vectors.update(zip(rows, unit.cpu().numpy(), strict=True))
            return unit[:, 0]

        score_by_length(
            list(range(len(texts))), lengths, spec.batch_size, score,
            device=self.model.device, limit=limit,
        )  # fmt: skip
        return [vectors[row] for row in range(len(texts))]
