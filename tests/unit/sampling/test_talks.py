"""Responses to prompts of several turns."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from talks import OPENED, TALK, save_chat_model

from polyalign.data.prompts import prompt_table
from polyalign.data.tables import read_table, write_table
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.sampling.engines import Response, TransformersEngine
from polyalign.sampling.generate import generate
from polyalign.settings import SamplingRule


def test_prompts_of_several_turns_are_answered_and_kept(tmp_path: Path) -> None:
    """From a file of messages to samples, whose log-probabilities are those after all turns."""
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "So?"}]  # fmt: skip
    alone = [{"role": "user", "content": f"Question {n}?"} for n in range(8)]
    rows = pd.DataFrame({"prompt": [talk, *([one] for one in alone)]})
    rows.to_parquet(tmp_path / "prompts.parquet")
    source = {"path": str(tmp_path / "prompts.parquet"), "split": "test"}
    prompts = prompt_table([source], limit=None, test_share=0.5, seed=0, system="Be kind.")
    assert TALK in set(prompts["prompt"])
    assert len(prompts) == 9
    folder = save_chat_model(tmp_path / "model")
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    rule = SamplingRule(max_new_tokens=4)
    engine, drawn = TransformersEngine(model, tokenizer, rule), {}

    def noted(texts: list[str], encoded: list[list[int]], seed: int) -> list[Response]:
        responses = engine(texts, encoded, seed)
        drawn.update(zip(texts, responses, strict=True))
        return responses

    table = generate(
        prompts, noted, model, model, tokenizer,
        policy="base/pool", template="chat", sampling=rule, candidates=1, batch_size=3, seed=1,
    )  # fmt: skip
    write_table(table, tmp_path / "samples.parquet", {})
    kept = read_table(tmp_path / "samples.parquet")
    assert set(kept["prompt"]) == set(prompts["prompt"])
    row = kept[kept["prompt"] == TALK].iloc[0]
    asked = tokenizer(OPENED)["input_ids"]
    ids = [*asked, *drawn[TALK].ids]
    with torch.inference_mode():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    by_hand = sum(float(logs[place - 1, ids[place]]) for place in range(len(asked), len(ids)))
    assert row["response"] == drawn[TALK].text
    assert row["logprob"] == pytest.approx(by_hand, abs=1e-4)
