"""From which head a classifier is trained: that of the same labels, else one from the seed."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from trainers import run_in
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    XLNetConfig,
    XLNetModel,
)

from polyalign.families.options import LabelTable, RewardTraining
from polyalign.rewards.kinds.sequence_classifier import Scorer, Spec
from polyalign.train.card import TABLE
from polyalign.train.classifier import train_classifier
from polyalign.train.loading import load_for_labels

NAMES = ["NEGATIVE", "POSITIVE"]


@pytest.fixture(scope="module")
def mood(tmp_path_factory) -> str:
    """A tiny classifier of two labels; its head has two layers, of numbers above 1."""
    folder = tmp_path_factory.mktemp("mood")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32, pad_token_id=0,
        id2label=dict(enumerate(NAMES)), label2id={"NEGATIVE": 0, "POSITIVE": 1},
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(0, 0.5) if name.startswith("roberta.") else weight.uniform_(1, 2)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def encoders(mood, tmp_path_factory) -> dict[str, str]:
    """Tiny encoders as they are published: each lacks another part of a classifier."""
    sizes = {"vocab_size": 13, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "max_position_embeddings": 32}
    distil = {"vocab_size": 13, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    torch.manual_seed(1)
    models = {
        "a head of two layers": DistilBertModel(DistilBertConfig(**distil)),
        "the pooler in the backbone": BertForMaskedLM(BertConfig(**sizes)),
        "the pooler beside the backbone": DebertaV2Model(DebertaV2Config(**sizes)),
        "no limit of the length": XLNetModel(
            XLNetConfig(vocab_size=13, d_model=16, n_layer=1, n_head=2, d_inner=16)
        ),
    }
    found = {"a head of three labels": mood}
    for name, model in models.items():
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, 0.5)
        folder = str(tmp_path_factory.mktemp("encoder"))
        model.save_pretrained(folder)
        BertTokenizerFast(vocab=f"{mood}/vocab.txt").save_pretrained(folder)
        found[name] = folder
    return found


def classify(source, folder, **options):
    """A classifier of a few texts, named by `names`, in `folder/model`."""
    table = LabelTable(path="texts.jsonl", names=options.pop("names"))
    texts = pd.DataFrame(
        [(f"{a} {b}", n % len(table.listed), "train" if n % 3 else "test", a)
         for n, (a, b) in enumerate(zip("abcdefgh", "hgfedcba", strict=True))],
        columns=["text", "label", "split", "group"],
    )  # fmt: skip
    section = RewardTraining(learning_rate=1e-2, batch_size=4, **options)
    run = run_in(folder, device="cpu")
    train_classifier(source, texts, table, section, run, folder / "model")


def loaded(source, folder, labels, kept, seed=0):
    section, run = RewardTraining(learning_rate=1e-3), run_in(folder, seed=seed, device="cpu")
    model, *_ = load_for_labels(
        source, None, "{prompt}", dict(enumerate(labels)), section, run, ended=False, kept=kept
    )
    return model.state_dict()


@pytest.mark.parametrize(
    ("labels", "kept", "same"),
    [
        (NAMES, NAMES, True),
        (NAMES[::-1], NAMES[::-1], False),
        (["clean", "toxic"], ["clean", "toxic"], False),
        (["label_0", "label_1"], [], False),
        (["a", "b", "c"], ["a", "b", "c"], False),
        (["one", "two"], None, True),
        (["reward"], None, False),
    ],
)
def test_only_a_head_of_the_same_labels_is_kept(mood, tmp_path, capsys, labels, kept, same):
    """And the log says so. The backbone is that of the file in every case."""
    found, saved = loaded(mood, tmp_path, labels, kept), load_file(f"{mood}/model.safetensors")
    for name, weight in saved.items():
        if same or name.startswith("roberta."):
            assert torch.equal(found[name], weight), name
        else:
            assert found[name].shape[0] == (16 if "dense" in name else len(labels))
            assert found[name].abs().max() < 0.2, name
            assert name.endswith("bias") or found[name].abs().min() > 0
    told = "(NEGATIVE, POSITIVE) is trained further" if same else "is for other labels (NEGATIVE, "
    assert told in capsys.readouterr().out


def test_a_new_head_is_that_of_the_seed(mood, tmp_path):
    weight = "classifier.out_proj.weight"
    first, again, other = (
        loaded(mood, tmp_path, ["a", "b"], ["a", "b"], seed)[weight] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("names", "told"), [(NAMES, "further"), (None, "new"), (["x", "y"], "new")]
)
def test_a_classifier_is_asked_for_by_the_names_of_its_labels(mood, tmp_path, capsys, names, told):
    """The default names, which two tasks may share, keep no head."""
    source = tmp_path / "source"
    shutil.copytree(mood, source)
    if names is None:
        config = json.loads((source / "config.json").read_text())
        config |= {"id2label": {"0": "label_0", "1": "label_1"}, "label2id": None}
        (source / "config.json").write_text(json.dumps(config))
    classify(str(source), tmp_path, names=names)
    assert told in capsys.readouterr().out


def test_a_base_model_may_lie_in_an_installed_package(mood, tmp_path, monkeypatch, capsys):
    (tmp_path / "moods").mkdir()
    (tmp_path / "moods/__init__.py").touch()
    shutil.copytree(mood, tmp_path / "moods/model")
    monkeypatch.syspath_prepend(tmp_path)
    classify("package:moods/model", tmp_path, names=NAMES)
    assert (
        "package:moods/model: its head (NEGATIVE, POSITIVE) is trained" in capsys.readouterr().out
    )


LACKS = [
    "a head of two layers", "the pooler in the backbone", "the pooler beside the backbone",
    "no limit of the length", "a head of three labels",
]  # fmt: skip


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("lacks", LACKS)
def test_with_adapters_everything_drawn_anew_is_saved(encoders, tmp_path, lacks, merge):
    """The scorer repeats the outputs on held-out texts that the training wrote down."""
    names = ["x", "y", "z"] if lacks == "a head of three labels" else ["x", "y"]
    classify(encoders[lacks], tmp_path, names=names, lora={"rank": 2, "merge": merge})
    held_out = pd.read_parquet(tmp_path / "model" / TABLE)
    scorer = Scorer(Spec(model=str(tmp_path / "model"), index=1, device="cpu"))
    found = scorer([""] * len(held_out), list(held_out["text"]))
    np.testing.assert_allclose(found, held_out["logit:y"], atol=1e-6)
    assert np.ptp(found) > 1e-4
