"""Lexical diversity: the product over n = 2, 3, 4 of the share of n-grams that are distinct."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from polyalign.rewards import Score
from polyalign.rewards.spec import Text, ValueSpec, scored_text


class Spec(ValueSpec):
    """Share of distinct n-grams of the response's words, multiplied over n, in [0, 1]. It is 1 if
    nothing is repeated.

    Reference: Su, Lan, Wang, Yogatama, Kong and Collier: A contrastive framework for neural text
    generation. arXiv 2202.06417, 2022.
    """

    kind: Literal["ngram_diversity"] = "ngram_diversity"
    sizes: list[int] = Field(default=[2, 3, 4], description="Lengths n of the n-grams.")
    text: Text = "response"

    def reads_prompt(self) -> bool:
        return self.text == "whole"


def diversity(text: str, sizes: Sequence[int] = (2, 3, 4)) -> float:
    """Product over n of (distinct n-grams / n-grams) of the words of `text`, in [0, 1].

    The measure of Su et al., "A Contrastive Framework for Neural Text Generation" (2022),
    which MAP uses too. An n for which the text is too short counts as 1.
    """
    words = text.split()
    product = 1.0
    for n in sizes:
        grams = list(zip(*(words[i:] for i in range(n)), strict=False))
        if grams:
            product *= len(set(grams)) / len(grams)
    return product


class Scorer(Score):
    """Calling it scores n samples."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Diversity (n,) of n responses, or of the whole texts."""
        texts = (
            scored_text(self.spec.text, prompt, response)
            for prompt, response in zip(prompts, responses, strict=True)
        )
        return np.array([diversity(text, self.spec.sizes) for text in texts])
