"""Lexical diversity: the product over n = 2, 3, 4 of the share of n-grams that are distinct."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from polyalign.rewards import Score
from polyalign.rewards.spec import ValueSpec


class Spec(ValueSpec):
    """Diversity of the response's words, in [0, 1]; 1 if nothing is repeated."""

    kind: Literal["ngram_diversity"] = "ngram_diversity"
    sizes: list[int] = Field(
        default=[2, 3, 4], description="Lengths n of the n-grams whose distinct shares multiply."
    )

    def reads_prompt(self) -> bool:
        """Always the response alone."""
        return False


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
        """Diversity (n,) of n responses."""
        return np.array([diversity(text, self.spec.sizes) for text in responses])
