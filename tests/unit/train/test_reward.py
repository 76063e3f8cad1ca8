"""Reward models and classifiers: an easy problem is learnt, tokens end alike, runs resume."""

import json
import math
import random
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from trainers import told
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    TrainerCallback,
)

from polyalign.cli.progress import progress
from polyalign.data.labels import labelled_texts
from polyalign.errors import InputError
from polyalign.families.options import LabelTable, RewardTraining
from polyalign.models.endings import Endings
from polyalign.models.manifest import write_manifest
from polyalign.rewards.kinds.sequence_classifier import Scorer, Spec
from polyalign.runtime.code import ROOT
from polyalign.sandbox.language_model import train_lm
from polyalign.sandbox.world import write_world
from polyalign.train import classifier, common, reward
from polyalign.train.calibration import calibration
from polyalign.train.card import TABLE, outputs_card, pairs_card
from polyalign.train.classifier import PROBLEMS, train_classifier
from polyalign.train.reward import train_reward

TEMPLATE = "\n\nHuman: {prompt}\n\nAssistant:"
OPTIONS = {"learning_rate": 3e-3, "batch_size": 16, "save_every": 5, "epochs": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("base")
    write_world(folder / "world", seed=0, dialogues=300, pairs=2)
    train_lm(
        folder / "world/corpus.jsonl", folder / "lm", template=TEMPLATE, seed=0, steps=5,
        width=32, layers=1,
    )  # fmt: skip
    return str(folder / "lm")


def easy_pairs(count: int, seed: int) -> pd.DataFrame:
    """The chosen response says "happy" somewhere where the rejected one says "sorry"."""
    rng = random.Random(seed)
    words = ["tea", "bread", "water", "the", "cup", "slowly", "at", "home"]
    rows = []
    for _ in range(count):
        said = rng.choices(words, k=rng.randint(3, 8))
        place = rng.randrange(len(said))
        good, bad = ([*said[:place], word, *said[place:]] for word in ("happy", "sorry"))
        rows.append((f"How do I brew {rng.choice(words)}?", " ".join(good), " ".join(bad)))
    return pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"])


def easy_texts(count: int) -> pd.DataFrame:
    pairs = easy_pairs(count, seed=9)
    parts = [pairs["chosen"], pairs["rejected"]]
    texts = pd.concat([part.to_frame("text").assign(label=1 - n) for n, part in enumerate(parts)])
    return texts.sort_index(kind="stable").assign(
        split=["train", "train", "test"] * (2 * count // 3)
    )


def learn(base, folder, pairs=None, seed=2, **changes):
    """A reward model of `pairs` (default: 160 easy ones) in `folder/model`."""
    section, run, _ = told(RewardTraining, folder, seed=seed, log_every=2, **{**OPTIONS, **changes})
    train = easy_pairs(160, 0) if pairs is None else pairs
    return train_reward(
        base, train, easy_pairs(60, 1), section, run, folder / "model", template=TEMPLATE
    )


def classify(base, folder, texts, table=None, **changes):
    """A classifier of `texts` in `folder/model`."""
    options = {**OPTIONS, "epochs": 8, **changes}
    section, run, _ = told(RewardTraining, folder, seed=2, log_every=2, **options)
    table = LabelTable(path="texts.jsonl", **(table or {}))
    return train_classifier(
        base, labelled_texts(texts, table), table, section, run, folder / "model"
    )


@pytest.fixture(scope="module")
def learnt(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    return folder, learn(base, folder)


def test_an_easy_problem_is_learnt_on_held_out_pairs(learnt):
    folder, record = learnt
    assert record["held_out"]["accuracy"] >= 0.95
    assert record["held_out"]["log_loss"] < 0.5 * math.log(2)
    assert record["counts"] == {"train": 160, "test": 60, "too_long": 0}
    assert record["steps"] == 20
    metrics = pd.read_csv(folder / "model/metrics.csv")
    assert metrics["loss"].iloc[-1] < metrics["loss"].iloc[0]
    assert not (folder / "work").exists()
    card = pairs_card(pd.read_parquet(folder / "model" / TABLE))
    assert card == record["card"]
    assert card["accuracy"][0] == record["held_out"]["accuracy"]


def test_labels_turned_round_are_learnt_as_well(base, tmp_path):
    """What is measured is agreement with the held-out labels, not how often the model is sure."""
    turned = easy_pairs(160, 0).rename(columns={"chosen": "rejected", "rejected": "chosen"})
    record = learn(base, tmp_path, turned)
    assert record["held_out"]["accuracy"] <= 0.05
    assert record["held_out"]["brier"] > 0.5


def test_the_scorer_of_the_values_reads_what_was_trained(learnt):
    """With the end token appended the scorer repeats the held-out figures; without it does not."""
    folder, record = learnt
    test = easy_pairs(60, 1)
    found = {}
    for append_eos in (True, False):
        spec = Spec(
            model=str(folder / "model"), template=TEMPLATE + " {response}", append_eos=append_eos,
            device="cpu",
        )  # fmt: skip
        scorer = Scorer(spec)
        better, worse = (
            scorer(list(test["prompt"]), list(test[c])) for c in ("chosen", "rejected")
        )
        found[append_eos] = calibration(better - worse)
    assert found[True] == pytest.approx(record["held_out"], abs=1e-5)
    assert found[False]["log_loss"] != pytest.approx(record["held_out"]["log_loss"], abs=1e-4)


def test_the_end_token_of_the_template_is_trained_on_recorded_and_scored(base, tmp_path):
    """Where a turn ends with another token than the tokenizer's own (here with a colon)."""
    source = tmp_path / "base"
    shutil.copytree(base, source)
    colon = AutoTokenizer.from_pretrained(base).convert_tokens_to_ids(":")
    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, colon]}))
    record = learn(str(source), tmp_path, epochs=1)
    assert record["settings"]["end_token"] == ":"
    test = easy_pairs(60, 1)
    spec = Spec(
        model=str(tmp_path / "model"), template=TEMPLATE + " {response}", append_eos=True,
        device="cpu",
    )  # fmt: skip
    found = []
    for manifest in ({"record": record}, {}):
        (tmp_path / "model.json").write_text(json.dumps(manifest))
        scorer = Scorer(spec)
        texts = [scorer(list(test["prompt"]), list(test[c])) for c in ("chosen", "rejected")]
        found.append(calibration(texts[0] - texts[1])["log_loss"])
    assert found[0] == pytest.approx(record["held_out"]["log_loss"], abs=1e-5)
    assert found[1] != pytest.approx(record["held_out"]["log_loss"], abs=1e-4)


def test_the_folder_is_an_ordinary_one_with_one_label(learnt):
    model = AutoModelForSequenceClassification.from_pretrained(learnt[0] / "model")
    tokenizer = AutoTokenizer.from_pretrained(learnt[0] / "model")
    assert model.config.num_labels == 1
    assert model.config.pad_token_id == tokenizer.pad_token_id


class KilledError(Exception):
    pass


class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 13:
            raise KilledError


def killed_at_13(monkeypatch, module, trainer):
    class Doomed(getattr(module, trainer)):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.add_callback(Kill())

    monkeypatch.setattr(module, trainer, Doomed)


def same_weights(one, two):
    left, right = (load_file(folder / "model.safetensors") for folder in (one, two))
    return all(torch.equal(left[key], right[key]) for key in left)


def test_a_killed_reward_run_resumes_to_the_same_result(base, learnt, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        killed_at_13(patch, reward, "PairsTrainer")
        with pytest.raises(KilledError):
            learn(base, tmp_path)
    assert not (tmp_path / "model").exists()
    record = learn(base, tmp_path)
    assert record["resumed_from"] == 12
    assert record["held_out"] == learnt[1]["held_out"]
    assert same_weights(tmp_path / "model", learnt[0] / "model")


def test_another_seed_gives_other_weights(base, learnt, tmp_path):
    learn(base, tmp_path, seed=3)
    assert not same_weights(tmp_path / "model", learnt[0] / "model")


def test_a_text_that_was_cut_is_read_without_an_end_token(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    pairs = easy_pairs(20, 0)
    ending = Endings(tokenizer, [tokenizer.eos_token_id], tokenizer.eos_token_id)
    whole, _ = reward._tokenise(pairs, ending, TEMPLATE, 10_000)
    cut, _ = reward._tokenise(
        pairs.assign(chosen_end="", rejected_end=None), ending, TEMPLATE, 10_000
    )
    for one, other in zip(whole, cut, strict=True):
        assert one["chosen_ids"] == [*other["chosen_ids"], tokenizer.eos_token_id]
        assert one["rejected_ids"] == other["rejected_ids"]


def test_the_job_judges_a_single_file_on_pairs_that_it_does_not_train_on(base, tmp_path):
    """And it trains where the study says."""
    rows = easy_pairs(200, 0).assign(prompt=[f"How do I brew tea {n}?" for n in range(200)])
    rows.to_json(tmp_path / "pairs.jsonl", orient="records", lines=True)
    training = RewardTraining(learning_rate=1e-3).model_dump()
    settings = {
        "name": "mine", "source": base, "revision": None, "template": TEMPLATE, "seed": 1,
        "device": "cpu", "training": training, "labels": None,
        "resample": None,
        "pairs": {"source": "pairs.jsonl", "max_words": 6, "held_out": 0.1},
    }  # fmt: skip
    made = "results/one/models/reward/mine"
    (tmp_path / made).parent.mkdir(parents=True)
    command = [
        sys.executable, ROOT / "scripts/reward_model.py", "--settings", json.dumps(settings),
        "--input", "train=pairs.jsonl", "test=pairs.jsonl", "--work", "work",
        "--output", f"model={made}", f"manifest={made}.json", f"metrics={made}.csv", "--log", "log",
    ]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, check=True)
    record = json.loads((tmp_path / f"{made}.json").read_text())["record"]
    counts = record["counts"]
    assert counts["train"] + counts["test"] == 200 - record["read"]["train"]["equal"]
    assert 5 <= counts["test"] <= 40
    assert record["read"]["train"]["other_split"] == counts["test"]
    cut = record["read"]["test"]["cut"]
    assert cut > 0
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert f"test: {cut} of {counts['test']} pairs are cut to max_words" in log
    assert record["settings"]["device"] == "cpu"


def test_an_unfit_base_is_refused(tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="cannot be loaded"):
        learn(str(tmp_path / "nothing"), tmp_path)


@pytest.fixture(scope="module")
def sorted_texts(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    record = classify(base, folder, easy_texts(150))
    return folder / "model", record


def test_a_classifier_learns_and_names_its_labels(sorted_texts):
    folder, record = sorted_texts
    assert record["held_out"]["accuracy"] >= 0.95
    assert record["card"]["agreement"]["label_1"]["auc"][0] >= 0.98
    assert record["counts"] == {"train": 200, "test": 100}
    config = AutoModelForSequenceClassification.from_pretrained(folder).config
    assert config.id2label == {0: "label_0", 1: "label_1"}
    scorer = Scorer(Spec(model=str(folder), index=1, device="cpu"))
    happy, sorry = scorer(["", ""], ["the happy cup at home", "the sorry cup at home"])
    assert happy > sorry + 1


def test_a_killed_classifier_run_resumes_to_the_same_result(
    base, sorted_texts, tmp_path, monkeypatch, capsys
):
    def again():
        return classify(base, tmp_path, easy_texts(150))

    with monkeypatch.context() as patch:
        killed_at_13(patch, classifier, "WholeBatches")
        with pytest.raises(KilledError):
            again()
    assert common.last_checkpoint(tmp_path / "work") is not None
    capsys.readouterr()
    record = again()
    assert record["resumed_from"] == 12
    (tmp_path / "job.log").write_text(capsys.readouterr().err)
    steps = record["steps"]
    assert progress(tmp_path / "job.log", {}).step == f"{steps}/{steps}"
    assert record["held_out"] == sorted_texts[1]["held_out"]
    assert same_weights(tmp_path / "model", sorted_texts[0])


@pytest.fixture
def bert(tmp_path) -> str:
    """A tiny BERT: its tokenizer ends a text with [SEP] and has no end-of-sequence token."""
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *sorted(set(" ".join(easy_texts(150)["text"]).split())),
    ]
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(words), encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=str(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert")


def test_an_encoder_is_a_base_of_classifiers_and_of_reward_models(bert, tmp_path):
    """Its separator ends prompt and response; the scorer reads what was trained."""
    record = classify(bert, tmp_path, easy_texts(150))
    assert record["held_out"]["accuracy"] >= 0.95
    assert record["held_out"]["texts"] == 100
    section, run, _ = told(RewardTraining, tmp_path / "r", seed=2, log_every=2, **OPTIONS)
    test = easy_pairs(60, 1)
    model = tmp_path / "reward"
    record = train_reward(bert, easy_pairs(160, 0), test, section, run, model, template="chat")
    assert record["held_out"]["accuracy"] >= 0.95
    # An encoder without a chat template reads the bare prompt.
    assert record["settings"]["template"] == "{prompt}"
    assert record["settings"]["end_token"] == "[SEP]"
    write_manifest(
        model, f"{model}.json", {"template": "chat", "pairs": {"source": "p"}}, record, {}
    )
    scorer = Scorer(Spec(model=str(model), device="cpu"))
    better, worse = (scorer(list(test["prompt"]), list(test[c])) for c in ("chosen", "rejected"))
    assert calibration(better - worse) == pytest.approx(record["held_out"], abs=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(bert)
    ids = tokenizer(test["prompt"][0], test["chosen"][0])["input_ids"]
    item = scorer.reader.texts.encode([test["prompt"][0]], [test["chosen"][0]]).items[0]
    assert item["input_ids"] == ids
    # Too long a prompt loses its beginning, and not the token that the encoder reads.
    item = scorer.reader.texts.encode([" ".join(["tea"] * 99)], [test["chosen"][0]])
    item = item.items[0]["input_ids"]
    assert len(item) == 64
    assert item[0] == tokenizer.cls_token_id
    assert item[-1] == tokenizer.sep_token_id


def test_a_model_without_an_end_token_or_separator_is_refused(bert, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.sep_token = None
    tokenizer.save_pretrained(bert)
    with pytest.raises(InputError, match="neither an end-of-sequence token nor a separator; exp"):
        learn(bert, tmp_path / "reward")


@pytest.mark.parametrize("kind", ["classes", "several", "ratings"])
def test_every_kind_of_labels_is_learnt_and_named(bert, tmp_path, kind):
    """The folder's config has the names, and the card is that of its held-out table."""
    texts = easy_texts(150)
    happy, tea = (texts["text"].str.contains(word) for word in ("happy", "tea"))
    names = {"classes": ["glum", "dry", "tea"], "several": ["glad", "sorry"], "ratings": ["mood"]}
    label = {
        "classes": np.where(tea, "tea", np.where(happy, "dry", "glum")),
        "several": [["glad"] if one else ["sorry"] for one in happy],
        "ratings": [[2.0, 1.0] if a else [-2.0, -1.0] for a in happy],
    }[kind]
    column = "rating" if kind == "ratings" else "label"
    texts = texts.drop(columns="label").assign(**{column: list(label)})
    table = {"kind": kind, "names": names[kind]}
    card = classify(bert, tmp_path, texts, table)["card"]
    model = tmp_path / "model"
    config = AutoModelForSequenceClassification.from_pretrained(model).config
    assert list(config.id2label.values()) == names[kind]
    assert config.problem_type == PROBLEMS[kind]
    for name in card["agreement"]:
        assert card["agreement"][name]["auc"][0] > 0.9
        scorer = Scorer(Spec(model=str(model), index=name, device="cpu"))
        held_out = pd.read_parquet(model / TABLE)
        scores = scorer([""] * len(held_out), list(held_out["text"]))
        np.testing.assert_allclose(scores, held_out[f"logit:{name}"], atol=1e-4)
    assert json.loads(json.dumps(outputs_card(held_out, kind, names[kind]))) == card


def test_a_training_that_diverges_ends_at_once_and_leaves_no_model(base, tmp_path):
    with pytest.raises(FloatingPointError, match=r"is (nan|inf) at step .*lower learning_rate"):
        classify(base, tmp_path, easy_texts(150), learning_rate=1e30)
    assert not (tmp_path / "model").exists()


def test_held_out_pairs_and_texts_are_looked_at_while_training(base, tmp_path):
    """The last look is what is measured at the end; the step size follows its schedule."""
    settings = {"evaluate_every": 9, "schedule": "cosine", "warmup": 0.2, "max_length": 40}
    record = learn(base, tmp_path / "pairs", **settings)
    metrics = pd.read_csv(tmp_path / "pairs/model/metrics.csv").set_index("step")
    seen = metrics["eval_loss"].dropna()
    # Rows of metrics are of even steps.
    steps = record["steps"]
    assert list(seen.index) == [10, 20] == [10, steps]
    assert seen[20] == pytest.approx(record["held_out"]["log_loss"], abs=1e-5)
    assert seen[20] < seen[10]
    # The logged step size is that of the next step.
    peak, rises = OPTIONS["learning_rate"], math.ceil(0.2 * steps)
    for step, size in metrics["learning_rate"].items():
        done = (step - 1 - rises) / (steps - rises)
        falls = 0.5 * (1 + math.cos(math.pi * done))
        expected = (step - 1) / rises if step - 1 < rises else falls
        assert size == pytest.approx(peak * expected, rel=1e-6)
    assert {name: record["settings"][name] for name in settings} == settings
    texts = classify(base, tmp_path / "texts", easy_texts(30), epochs=1, evaluate_every=1)
    looked = pd.read_csv(tmp_path / "texts/model/metrics.csv").set_index("step")["eval_loss"]
    assert looked[texts["steps"] // 2 * 2] > 0


def test_the_optimiser_and_its_decay_of_weights(base, tmp_path):
    """One step of stochastic gradient descent, written out.

    Decay moves a weight by −η·w·decay, and all weights together move by η times the clipped
    gradient, whose norm is at most 1; Adam would move each by η.
    """
    model, rate = {}, 0.1
    settings = {"optimiser": "sgd", "learning_rate": rate, "epochs": 1, "schedule": "constant"}
    for decay in (0.0, 0.5):
        folder = tmp_path / str(decay)
        record = learn(base, folder, easy_pairs(16, 0), weight_decay=decay, **settings)
        assert record["steps"] == 1
        model[decay] = load_file(folder / "model/model.safetensors")
    start = load_file(f"{base}/model.safetensors")
    name = "transformer.h.0.mlp.c_fc.weight"
    moved = model[0.5][name] - model[0.0][name]
    np.testing.assert_allclose(moved, -rate * 0.5 * start[name], atol=1e-7)
    moves = [model[0.0][one] - start[one] for one in start if one in model[0.0]]
    assert 0 < sum(float((move**2).sum()) for move in moves) <= rate**2 * 1.001
    assert torch.equal(model[0.5]["transformer.ln_f.bias"], model[0.0]["transformer.ln_f.bias"])


def test_the_longest_text_is_a_setting(base, tmp_path):
    """Longer pairs are left out and counted; a longer labelled text is cut."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    pairs = pd.concat([easy_pairs(160, 0), easy_pairs(60, 1)])
    longest = [
        1 + max(len(tokenizer(f"{TEMPLATE.format(prompt=one.prompt)} {text}")["input_ids"])
                for text in (one.chosen, one.rejected))
        for one in pairs.itertuples()
    ]  # fmt: skip
    limit = int(np.median(longest))
    record = learn(base, tmp_path / "pairs", epochs=1, max_length=limit)
    assert record["counts"]["too_long"] == sum(length > limit for length in longest) > 0
    with pytest.raises(InputError, match="no pair left to train on"):
        learn(base, tmp_path / "none", max_length=3)
    classify(base, tmp_path / "texts", easy_texts(30), epochs=1, max_length=3)
    held_out = pd.read_parquet(tmp_path / "texts/model" / TABLE)
    scorer = Scorer(Spec(model=str(tmp_path / "texts/model"), index=1, max_length=3, device="cpu"))
    scores = scorer([""] * len(held_out), list(held_out["text"]))
    np.testing.assert_allclose(scores, held_out["logit:label_1"], atol=1e-4)
