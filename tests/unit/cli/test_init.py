"""`polyalign init`: what it writes passes the checks up to what the user must fill in."""

import sys

import pandas as pd
import pytest

from polyalign import cli
from polyalign.cli import init
from polyalign.errors import InputError
from polyalign.study import load


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a question"}\n')
    return tmp_path


def run(capsys, *arguments):
    status = cli.main(["init", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


WHOLE = (
    "--model", "org/model", "--prompts", "prompts.jsonl", "--value", "fluency=log_likelihood",
    "--value", "humor=sequence_classifier:org/humor", "--palette", "fun=humor:q70,fluency:mean",
    "--palette", "calm=humor:mean-0.2sd",
)  # fmt: skip


def test_a_config_of_all_flags_is_a_study(capsys):
    status, out, err = run(capsys, "my-study.yaml", *WHOLE)
    assert (status, err) == (0, "")
    assert "to fill in" not in out
    assert out.splitlines()[-1] == "next: polyalign check my-study.yaml"
    study = load("my-study.yaml")
    assert study.study == "my-study"
    assert study.model.source == "org/model"
    assert [source.path for source in study.prompts.sources] == ["prompts.jsonl"]
    assert study.values["humor"].model == "org/humor"
    assert {name: dict(levels) for name, levels in study.palettes.items()} == {
        "fun": {"humor": "q70", "fluency": "mean"},
        "calm": {"humor": "mean-0.2sd"},
    }
    assert [policy.name for policy in study.evaluated] == [
        "base/base", "map-d/fun", "map-d/calm", "best-of/fun", "best-of/calm",
    ]  # fmt: skip


def test_what_is_missing_is_named_and_nothing_else_is_wrong(capsys):
    status, out, _ = run(capsys, "new.yaml", "--value", "py=python", "--value", "on=log_likelihood")
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("to fill in")] == [
        "to fill in: model.source",
        "to fill in: prompts.sources[0].path",
        "to fill in: values.py.function",
    ]
    with pytest.raises(InputError) as caught:
        load("new.yaml")
    faults = str(caught.value).splitlines()
    assert [line.split(" ")[1] for line in faults] == [
        "prompts.sources[0].path:", "values.py.function:"
    ]  # fmt: skip


def test_the_label_of_a_classifier_with_several_is_to_fill_in(capsys, folder):
    (folder / "mood").mkdir()
    (folder / "mood/config.json").write_text('{"id2label": {"0": "CALM", "1": "ANGRY"}}')
    value = ("--value", "calm=sequence_classifier:mood")
    status, out, _ = run(capsys, "my.yaml", "--model", "a/b", "--prompts", "prompts.jsonl", *value)
    assert status == 0
    assert [line for line in out.splitlines() if "fill" in line] == [
        "to fill in: values.calm.index",
        "next: fill in, then polyalign check my.yaml",
    ]
    text = (folder / "my.yaml").read_text()
    with pytest.raises(InputError, match=r"'FILL-IN: CALM or ANGRY'; .* \(0 CALM, 1 ANGRY\)"):
        load("my.yaml")
    (folder / "my.yaml").write_text(text.replace('"FILL-IN: CALM or ANGRY"', "CALM"))
    assert load("my.yaml").values["calm"].index == "CALM"


def test_without_flags_a_study_of_two_values_is_drafted(capsys, folder):
    assert run(capsys, "sub/draft.yaml")[0] == 0
    text = (folder / "sub/draft.yaml").read_text()
    for mark, real in (
        ("FILL-IN/base-model", "org/model"),
        ("FILL-IN/prompts.jsonl", "prompts.jsonl"),
        ("FILL-IN/classifier", "org/humor"),
    ):
        assert mark in text
        text = text.replace(mark, real)
    (folder / "filled.yaml").write_text(text.replace("  # rloo", "  rloo"))
    study = load("filled.yaml")
    assert dict(study.palettes["humor-70"]) == {"humor": "q70", "fluency": "mean"}
    assert "rloo/humor-70" in [policy.name for policy in study.evaluated]


def test_a_table_of_scores_has_its_columns_as_values(capsys):
    rows = {"prompt": ["a", "a", "b"], "response": ["x", "y", "z"], "wit": [1.0, 2, 3]}
    pd.DataFrame(rows).assign(care=0.5).to_csv("scores.csv", index=False)
    status, out, err = run(capsys, "scored.yaml", "--scores", "scores.csv")
    assert (status, err) == (0, "")
    assert "to fill in" not in out
    study = load("scored.yaml")
    assert study.rewards == "scores.csv"
    assert list(study.values) == ["wit", "care"]
    assert dict(study.palettes["wit-70"]) == {"wit": "q70", "care": "mean"}


def test_questions_are_asked_on_a_terminal_for_what_is_not_given(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = iter(["prompts.jsonl", "a=log_likelihood b=ngram_diversity", ""])
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or next(answers))
    assert run(capsys, "asked.yaml", "--model", "org/model")[0] == 0
    assert [question.split()[0] for question in asked] == ["prompts", "values,", "palettes,"]
    assert list(load("asked.yaml").values) == ["a", "b"]


def test_a_file_is_never_overwritten(capsys, folder):
    (folder / "mine.yaml").write_text("precious")
    status, out, err = run(capsys, "mine.yaml", *WHOLE)
    assert (status, out) == (2, "")
    assert "is never overwritten" in err
    assert (folder / "mine.yaml").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--palette", "fun=humour:q70"), "palettes.fun.humour: no value 'humour'"),
        (("--palette", "fun=humor:q0.7"), "write q70"),
        (("--palette", "fun"), "--palette fun: is not understood"),
        (("--palette", "fun=humor:q70,humor:q80"), "names something twice"),
        (("--value", "a=classifier:x"), "--value a=classifier:x: is not understood"),
        (("--value", "a=ngram_diversity:x"), "is not understood"),
        (("--value", "humor=log_likelihood", "--value", "humor=log_likelihood"), "given twice"),
        (("--prompts", "absent.jsonl"), "'absent.jsonl' does not exist"),
        (("--study", "a/b"), "study"),
        (("--scores", "s.csv", "--model", "m"), "--scores needs no --model"),
        (("--scores", "absent.csv"), "absent.csv"),
    ],
)
def test_what_check_would_refuse_is_refused_at_once(capsys, folder, arguments, message):
    status, out, err = run(capsys, "bad.yaml", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (folder / "bad.yaml").exists()


@pytest.mark.parametrize("text", ["no", "1e-6", "1.5", "a: b", "#x", "plain-name_2", "ümläut", "n"])
def test_texts_stay_texts_in_yaml(text):
    import yaml

    assert yaml.safe_load(f"key: {init._yaml(text)}") == {"key": text}
