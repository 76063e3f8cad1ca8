"""Prompts of several turns in training: what the models and the rewards read of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from talks import OPENED, SAID, TALK, chat_tokenizer, save_chat_model
from trainers import ALGORITHMS, told

from polyalign.models.endings import endings
from polyalign.sampling.drawing import DrawingEngine
from polyalign.settings import SamplingRule
from polyalign.train.dpo import tokenise
from polyalign.train.rl import Task


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_chat_model(tmp_path_factory.mktemp("chat"))


@pytest.mark.parametrize("algorithm", ["rloo", "ppo"])
def test_a_policy_is_trained_on_whole_conversations(
    algorithm: str, chat_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model reads the chat template; the reward gets the prompt as annotation gives it."""
    read, scored = set(), set()
    original = DrawingEngine.draw

    def draw(self: Any, prompts: Any, encoded: Any, *rest: Any) -> Any:
        read.update(chat_tokenizer().batch_decode(encoded))
        return original(self, prompts, encoded, *rest)

    def score(prompts: list[str], responses: list[str]) -> np.ndarray:
        scored.update(prompts)
        return np.array([float(len(text)) for text in responses])

    monkeypatch.setattr(DrawingEngine, "draw", draw)
    section, trains, short, _ = ALGORITHMS[algorithm]
    settings = {**short, "batch_size": 4, "steps": 4, "learning_rate": 1e-4}
    if algorithm == "rloo":
        settings["generations"] = 2
    options, run, _ = told(section, tmp_path, **settings)
    task = Task(
        model=chat_model, revision=None, template="chat", prompts=[TALK], rewards={"long": score},
        lam={"long": 1.0}, sampling=SamplingRule(max_new_tokens=3),
    )  # fmt: skip
    trains(task, options, run, tmp_path / "model")
    assert (read, scored) == ({OPENED}, {TALK})


@pytest.mark.parametrize(
    ("template", "text"), [("chat", OPENED), ("Q: {prompt}\nA:", f"Be kind.\n\nQ: {SAID}\nA:")]
)
def test_pairs_are_trained_on_whole_conversations(template: str, text: str) -> None:
    tokenizer = chat_tokenizer()
    pairs = pd.DataFrame({"prompt": [TALK], "chosen": ["Yes."], "rejected": ["No."]})
    data, counts = tokenise(pairs, endings(None, tokenizer, template), template, 512, None)
    assert counts == {"pairs": 1, "cut": 0, "left_out": 0}
    row, space = data[0], "" if template == "chat" else " "
    assert tokenizer.decode(row["prompt_ids"]) == text
    assert tokenizer.decode(row["chosen_ids"]) == f"{space}Yes.<|im_end|>"
    assert tokenizer.decode(row["rejected_ids"]) == f"{space}No.<|im_end|>"
