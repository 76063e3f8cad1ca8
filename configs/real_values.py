"""Rewards of the real study that rules or word lists compute (see real.yaml)."""

import numpy as np


def brevity(prompts: list[str], responses: list[str]) -> list[float]:
    """Minus the number of words."""
    return [-float(len(text.split())) for text in responses]


def clean(prompts: list[str], responses: list[str]) -> np.ndarray:
    """Probability of no offensive language, by a linear model of words (alt-profanity-check)."""
    from profanity_check import predict_prob

    return 1.0 - np.asarray(predict_prob(responses))


def vader(prompts: list[str], responses: list[str]) -> list[float]:
    """Sentiment from -1 to 1 by VADER's rules, which nothing here was trained on."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    rules = SentimentIntensityAnalyzer()
    return [rules.polarity_scores(text)["compound"] for text in responses]
