"""A small valid study, in a folder of its own, that the tests break."""

import textwrap
from pathlib import Path

import pytest

from polyalign import plots
from polyalign.plots import FigureSpec

STUDY = """\
    study: small
    seed: 3
    sandbox: {steps: 10}
    model:
      source: results/small/models/base/base
      dtype: float32
    prompts:
      sources:
        - {path: data/hh, split: test}
      template: "Human: {prompt} Assistant:"
      test_share: 0.4
    sampling:
      temperature: 1.0
      candidates: 16
      shards: 2
    values:
      humor:
        kind: sequence_classifier
        model: results/small/models/reward/humor
        index: 1
        label: Humor
      diversity: {kind: ngram_diversity}
      fluency: {kind: log_likelihood}
    reward_models:
      humor: {labels: data/humor.csv}
      helpful: {preferences: helpful}
    preferences:
      helpful: {path: data/hh}
      harmless: {path: results/small/world/hh/harmless-base}
    palettes:
      funny: {humor: q70, diversity: mean}
      plain: {humor: 0.5}
    map:
      scope: auto
    policies:
      map-d:
        palettes: [funny, plain]
      dpo:
        beta: [0.1, 0.5]
        mixtures:
          mostly: {helpful: 0.7, harmless: 0.3}
        learning_rate: 5.0e-4
      soup:
        models:
          half: {dpo/beta-0.1_mostly: 0.5, dpo/beta-0.5_mostly: 0.5}
      rloo:
        palettes: [funny]
    plots: [radar]
    """


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The text of a valid study; the working folder holds its data and two figures: `radar` of the
    study, `portrait` of one policy."""
    (tmp_path / "data" / "hh").mkdir(parents=True)
    pair = '{"prompt": "Is it %d?", "chosen": "yes", "rejected": "no"}\n'
    for split in ("train", "test"):
        file = tmp_path / "data" / "hh" / f"{split}.jsonl"
        file.write_text("".join(pair % number for number in range(1000)), encoding="utf-8")
    labelled = "text,label,split\nha,1,train\noh,0,train\nhaha,1,test\n"
    (tmp_path / "data" / "humor.csv").write_text(labelled, encoding="utf-8")
    (tmp_path / "data" / "tiny_classifier").mkdir()
    (tmp_path / "mine.py").write_text("def politeness(): ...\ndef other(): ...\n")
    (tmp_path / "scores.csv").write_text("prompt,humor\nhi,1.0\n", encoding="utf-8")
    figures = {"radar": FigureSpec(needs=()), "portrait": FigureSpec(needs=(), of_a_policy=True)}
    monkeypatch.setattr(plots, "names", lambda: sorted(figures))
    monkeypatch.setattr(plots, "figure", figures.__getitem__)
    monkeypatch.chdir(tmp_path)
    return textwrap.dedent(STUDY)


@pytest.fixture
def write(tmp_path: Path):
    """Write a config into the working folder; returns its name."""

    def _write(content: str, name: str = "study.yaml") -> str:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return name

    return _write
