"""Model cards: what a model was made from and how, whatever users named things."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from polyalign.runtime import model_card
from polyalign.runtime.model_card import CARD, code, licence, write_card

HOSTILE = [
    "</td><script>alert(1)</script>",
    "`code` ``more`` ```",
    "`",
    "a | b \\| c",
    "# title\n\n[link](http://x.y) ![i](j)",
    "\u202eright to left\x00\x1b[31m",
    "<|im_start|>{prompt}<|im_end|>",
    "&lt;&amp;",
    " spaces ",
    "",
]
SOLVED = {
    "palette": "hhh-60",
    "levels": {"helpful": "q60", "humor": "mean|x"},
    "values": ["helpful", "humor"],
    "target": [1.25, 0.5],
    "base": [1.0, 0.5],
    "realised": [1.25, 0.625],
    "kl": 0.4089,
    "scope": "prompt",
    "adjusted": False,
    "reached": 1.0,
}


def tokens(text: str) -> Iterator[Token]:
    """All tokens of a Markdown text, the inline ones too."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or []


def written(
    folder: Path,
    settings: dict[str, Any],
    *,
    record: dict[str, Any] | None = None,
    inputs: dict[str, list[Path]] | None = None,
    bases: dict[str, str] | None = None,
) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = "results/mine/models/rloo/hhh-60.json"
    write_card(folder, manifest, settings, record or {}, inputs or {}, bases or {})
    return (folder / CARD).read_text(encoding="utf-8")


def front(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    return found


@pytest.fixture
def palette(tmp_path: Path) -> Path:
    file = tmp_path / "hhh-60.json"
    file.write_text(json.dumps(SOLVED))
    return file


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_one_span_of_code(text: str) -> None:
    found = [token for token in tokens(f"- name: {code(text)}, more") if token.type != "text"]
    (span,) = [token for token in found if token.type == "code_inline"]
    assert not [token for token in found if token.type.startswith(("html", "link", "image"))]
    assert span.content.isprintable()
    if text.isprintable():
        assert span.content == (text or "  ")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_card_shows_hostile_texts_as_code_alone(text: str, tmp_path: Path) -> None:
    settings = {"template": text, "variant": text, "preferences": {text: {"source": text}}}
    card = written(
        tmp_path / "m", settings, bases={text or "b": "nowhere"}, record={"counts": text}
    )
    shown = list(tokens(card.split("---", 2)[2]))
    assert not [one for one in shown if one.type.startswith(("html", "link", "image"))]
    headings = [one for one in shown if one.type == "heading_open"]
    assert [one.tag for one in headings] == ["h1", "h2", "h2", "h2", "h2"]


def test_levels_are_those_of_the_palette_and_of_the_training(tmp_path: Path, palette: Path) -> None:
    record = {
        "closed_loop": {
            "lam": {"helpful": 0.75, "humor": 0.0},
            "levels": {"helpful": 1.125, "humor": 0.5625},
            "stopped": "all steps are used",
        },
        "metrics": {"kl": 0.5},
        "settings": {"lam": {"helpful": 9.0, "humor": 9.0}},
    }
    card = written(tmp_path / "m", {"seed": 3}, record=record, inputs={"palette": [palette]})
    rows = [line for line in card.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `helpful` | `q60` | 1.25 | 1 | 1.25 | 1.125 | 0.75 |",
        "| `humor` | `mean\\|x` | 0.5 | 0.5 | 0.625 | 0.5625 | 0 |",
    ]
    cells = [one.content for one in tokens(card) if one.type == "code_inline"]
    assert "mean|x" in cells
    assert "Selection costs 0.4089 nats" in card
    assert "last step: 0.5 nats" in card
    assert "- seed: 3\n" in card
    assert "not supported as asked" not in card


def test_an_adjusted_palette_is_said(tmp_path: Path, palette: Path) -> None:
    palette.write_text(json.dumps(SOLVED | {"adjusted": True, "reached": 0.8125}))
    card = written(tmp_path / "m", {}, inputs={"palette": [palette]})
    assert "not supported as asked" in card
    assert "81.2% of the way" in card


def test_two_equal_runs_write_the_same_bytes(tmp_path: Path, palette: Path) -> None:
    """Whatever was in the folder (peft writes a card of its own), and in whatever order."""
    one = written(tmp_path / "m", {"a": 1, "b": {"c": 2, "d": 3}}, inputs={"palette": [palette]})
    (tmp_path / "m" / CARD).write_text("another card")
    two = written(tmp_path / "m", {"b": {"d": 3, "c": 2}, "a": 1}, inputs={"palette": [palette]})
    assert one == two


def test_the_command_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_card, "commit", lambda: "0123456789ab")
    card = written(tmp_path / "m", {})
    assert (
        "- command: `snakemake --cores 2 results/mine/models/rloo/hhh-60.json "
        "--configfile results/mine/config.json`\n" in card
    )
    assert "- commit: `0123456789ab`\n" in card
    monkeypatch.setattr(model_card, "commit", lambda: "")
    assert "commit" not in written(tmp_path / "m", {})


def test_the_licence_is_that_of_the_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.gguf").touch()
    assert licence(str(base)) == ""
    (base / CARD).write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    assert licence(str(base)) == licence(str(base / "model.gguf")) == "apache-2.0"
    card = written(tmp_path / "m", {}, bases={"mine": str(base)})
    assert front(card)["license"] == "apache-2.0"
    # And of what is made from it.
    assert licence(str(tmp_path / "m")) == "apache-2.0"
    for broken in ("no head", "---\n- a\n---", "---\n: [\n---", "---\nlicense: [a]\n---"):
        (base / CARD).write_text(broken)
        assert licence(str(base)) == ""


def test_two_licences_are_none_that_holds_for_all(tmp_path: Path) -> None:
    bases = {}
    for name, said in (("one", "mit"), ("two", "llama2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / CARD).write_text(f"---\nlicense: {said}\n---\n")
        bases[name] = str(tmp_path / name)
    card = written(tmp_path / "m", {}, bases=bases)
    assert "license" not in front(card)
    assert "`one`; licence: `mit`" in card
    assert "`two`; licence: `llama2`" in card


def test_the_hub_is_told_what_it_knows_alone(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").touch()
    card = written(folder, {}, bases={"org/model": "org/model", str(tmp_path): str(tmp_path)})
    assert front(card)["base_model"] == ["org/model"]
    assert front(card)["library_name"] == "transformers"
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert front(written(folder, {}))["library_name"] == "peft"


def test_a_reward_model_says_how_far_it_agrees_with_people(tmp_path: Path) -> None:
    rated = {
        "kind": "ratings",
        "agreement": {
            "mood|x": {"rho": [0.71, 0.6, 0.8], "auc": [0.8, 0.7, 0.9], "rho_length": -0.2}
        },
        "calibration": {"error": 0.25},
        "ceiling": {"rho": 0.93, "one_rater": 0.66, "texts": 15},
    }
    text = written(tmp_path / "rated", {}, record={"card": rated})
    assert "- `mood|x`: Spearman's ρ 0.71 (0.6 to 0.8), AUC 0.8 (0.7 to 0.9); ρ with length" in text
    assert "a perfect model would have ρ 0.93, one rater has 0.66 (on 15 texts)" in text
    pairs = {
        "kind": "pairs", "accuracy": [0.75, 0.5, 0.9], "rho_length": 0.4,
        "calibration": {"error": 0.1}, "ceiling": None,
    }  # fmt: skip
    text = written(tmp_path / "pairs", {}, record={"card": pairs})
    assert "accuracy on held-out pairs: 0.75 (0.5 to 0.9)" in text
    assert "a perfect model" not in text
    assert "Agreement" not in written(tmp_path / "other", {}, record={"steps": 3})
