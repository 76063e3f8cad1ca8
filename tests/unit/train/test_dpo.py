"""DPO: λ-labelled pairs lead to p_λ, tokens are as in training, runs repeat and resume."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from enumerable import (
    END,
    LAM,
    LENGTH,
    PROMPTS,
    TEMPLATE,
    TOKENS,
    distribution,
    divergence,
    responses,
    reward_table,
    target,
    texts,
)
from pydantic import ValidationError
from safetensors.torch import load_file
from trainers import told
from transformers import AutoTokenizer

from polyalign.data.preferences import read_pairs
from polyalign.errors import InputError
from polyalign.families import dpo as declared
from polyalign.families.dpo import Dpo, Labelled, Labels, Mixed, Settings
from polyalign.families.options import Lora
from polyalign.models.endings import Endings
from polyalign.runtime.job import Job
from polyalign.settings import SamplingRule
from polyalign.train import dpo
from polyalign.train.calibration import calibration
from polyalign.train.candidates import is_exact
from polyalign.train.dpo import SoftDPOTrainer, lambda_pairs, tokenise, train_dpo
from polyalign.train.inputs import training_inputs


def candidates(
    probabilities: np.ndarray, each: int, top: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """`each` responses per prompt drawn from the base (its `top` likeliest ones), with rewards."""
    if top:
        least = np.sort(probabilities, axis=1)[:, -top, None]
        probabilities = np.where(probabilities >= least, probabilities, 0)
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    rows, rewards = [], []
    for row, prompt in enumerate(PROMPTS):
        for choice in rng.choice(probabilities.shape[1], size=each, p=probabilities[row]):
            end = TOKENS[END] if responses()[choice][-1] == END else ""
            asked = {"prompt_id": prompt, "prompt": prompt}
            rows.append({**asked, "response": texts()[choice], "end_token": end})
            rewards.append(reward_table()[row, choice])
    return pd.DataFrame(rows), np.array(rewards)


def lam_pairs(base, each=300, pairs=4000, top=0, lam=None):
    frame, rewards = candidates(distribution(base), each, top)
    return lambda_pairs(frame, rewards, np.array(lam or list(LAM.values())), 1, pairs)


def train(base, pairs, folder, **changes):
    settings = {
        "template": TEMPLATE, "beta": 1.0, "learning_rate": 3e-3, "batch_size": 32,
        "max_new_tokens": LENGTH, "log_every": 1, **changes,
    }  # fmt: skip
    section, run, rest = told(Dpo, folder, **settings)
    return train_dpo(str(base), pairs, section, run, folder / "model", **rest)


def reached(base, folder, pairs, **changes):
    start = distribution(base)
    goal = target(start)
    assert divergence(start, goal) >= 0.5
    record = train(base, pairs, folder, log_every=50, **changes)
    nats = divergence(distribution(folder / "model"), goal)
    print(f"KL to the target: base {divergence(start, goal):.3f}, trained {nats:.4f}, "
          f"{record['seconds']} s")  # fmt: skip
    return nats


def test_pairs_labelled_by_lambda_lead_to_the_exact_optimum(base, tmp_path):
    assert reached(base, tmp_path, lam_pairs(base)) <= 0.05


@pytest.mark.parametrize(
    ("pairs", "changes"),
    [
        ({}, {"beta": 2.0}),
        ({"lam": (LAM["sweet"], 0.0)}, {}),
        ({"top": 12}, {}),
    ],
    ids=["wrong β", "a dropped value", "candidates with top_k"],
)
def test_misses_the_optimum_of_something_else(base, tmp_path, pairs, changes):
    """None of these may hide behind the bar."""
    assert reached(base, tmp_path, lam_pairs(base, **pairs), **changes) > 0.1


def test_hard_labels_are_not_soft_ones(base, tmp_path):
    """Taking every pair as certain would sharpen the policy far beyond p_λ."""
    pairs = lam_pairs(base).drop(columns="preference")
    assert reached(base, tmp_path, pairs) > 0.1


def test_soft_loss_is_the_cross_entropy_of_the_labels(base, tmp_path, monkeypatch):
    """Against the definition, on logits computed again, at a model that differs from the base."""
    seen = {}
    original = SoftDPOTrainer._compute_loss

    def spy(self, model, inputs, return_outputs):
        with torch.no_grad():
            for weight in model.parameters():
                numbers = torch.arange(weight.numel(), device=weight.device)
                weight.add_(0.05 * torch.sin(numbers.view_as(weight)))
        loss = original(self, model, inputs, return_outputs)

        def logps(part):
            ids, mask = inputs["input_ids"], inputs["completion_mask"][:, 1:]
            logits = part(ids, attention_mask=inputs["attention_mask"]).logits[:, :-1]
            each = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
            return (each * mask).sum(1).chunk(2)

        (chosen, rejected), (ref_chosen, ref_rejected) = logps(model), logps(self.ref_model)
        z = self.beta * (chosen - ref_chosen - rejected + ref_rejected)
        q = inputs["preference"]
        seen["expected"] = -(q * z.sigmoid().log() + (1 - q) * (-z).sigmoid().log()).mean().item()
        seen["loss"], seen["z"] = loss.item(), z.abs().max().item()
        return loss

    monkeypatch.setattr(SoftDPOTrainer, "_compute_loss", spy)
    pairs = pd.DataFrame(
        {"prompt": ["p", "q"], "chosen": ["a b", "c"], "rejected": ["b", "a a a"],
         "preference": [0.9, 0.6]}
    )  # fmt: skip
    train(base, pairs, tmp_path, batch_size=2, beta=0.7)
    assert seen["z"] > 0.05
    assert seen["loss"] == pytest.approx(seen["expected"], rel=1e-5)


def test_lambda_pairs_labels_and_draw():
    frame = pd.DataFrame(
        {"prompt_id": ["x"] * 4 + ["y"] * 2, "prompt": ["X"] * 4 + ["Y"] * 2,
         "response": ["a", "b", "b", "c", "d", "d"], "end_token": ["A", "", "", "C", "D", "D"]}
    )  # fmt: skip
    rewards = np.array([[0, 1], [2, 0], [2, 0], [0, 0], [1, 1], [5, 5]], dtype=float)
    lam = np.array([0.5, 2.0])
    pairs = lambda_pairs(frame, rewards, lam, seed=0, pairs=10)
    assert set(pairs["prompt"]) == {"X"}, "equal responses make no pair"
    assert len(pairs) == 5
    score = {"a": 2.0, "b": 1.0, "c": 0.0}
    margins = pairs["chosen"].map(score) - pairs["rejected"].map(score)
    assert (margins > 0).all()
    ends = {"a": "A", "b": "", "c": "C"}
    for name in ("chosen", "rejected"):
        assert pairs[f"{name}_end"].tolist() == pairs[name].map(ends).tolist()
    np.testing.assert_allclose(pairs["preference"], 1 / (1 + np.exp(-margins)))
    few = lambda_pairs(frame, rewards, lam, seed=0, pairs=2)
    assert len(few) == 2
    assert few.equals(lambda_pairs(frame, rewards, lam, seed=0, pairs=2))
    with pytest.raises(InputError, match="two different responses"):
        lambda_pairs(frame.iloc[4:], rewards[4:], lam, seed=0, pairs=2)


def test_pairs_are_spread_over_the_prompts():
    sizes = {"x": 5, "y": 3, "z": 2}
    rows = [(name, name, f"{name}{n}") for name, size in sizes.items() for n in range(size)]
    frame = pd.DataFrame(rows, columns=["prompt_id", "prompt", "response"]).assign(end_token="")
    rewards = np.random.default_rng(0).normal(size=(len(frame), 1))
    drawn = {
        count: lambda_pairs(frame, rewards, np.ones(1), 0, count)["prompt"].value_counts().to_dict()
        for count in (3, 7, 100)
    }
    assert drawn[3] == {"x": 1, "y": 1, "z": 1}
    assert drawn[7] == {"x": 3, "y": 3, "z": 1}
    assert drawn[100] == {"x": 10, "y": 3, "z": 1}


def test_tokens_are_those_of_training(base):
    ending = Endings(AutoTokenizer.from_pretrained(base), [END], END)
    pairs = pd.DataFrame(
        {"prompt": ["p", "p a a a a a"], "chosen": ["a b", "a"], "rejected": ["c a b a", "b"]}
    )
    data, counts = tokenise(pairs, ending, TEMPLATE, longest=7, max_new_tokens=3)
    (row,) = data
    words = {name: [TOKENS[token] for token in row[name]] for name in row if name != "preference"}
    assert words == {"prompt_ids": ["p", ":"], "chosen_ids": ["a", "b", "<end>"],
                     "rejected_ids": ["c", "a", "b"]}  # fmt: skip
    assert row["preference"] == 1.0
    assert counts == {"pairs": 2, "cut": 1, "left_out": 1}
    data, _ = tokenise(pairs, ending, TEMPLATE, longest=100, max_new_tokens=None)
    assert [row["rejected_ids"].count(END) for row in data] == [1, 1]


def test_sampled_responses_end_as_they_were_sampled(base):
    """With the end token that was drawn, and without one where the limit cut."""
    other = TOKENS.index("c")
    ending = Endings(AutoTokenizer.from_pretrained(base), [END, other], END)
    pairs = pd.DataFrame(
        {"prompt": ["p"] * 3, "chosen": ["a", "a b", "b"], "chosen_end": ["c", "", "<end>"],
         "rejected": ["b", "b b", ""], "rejected_end": ["", "<end>", ""]}
    )  # fmt: skip
    data, counts = tokenise(pairs, ending, TEMPLATE, longest=100, max_new_tokens=None)
    a, b = TOKENS.index("a"), TOKENS.index("b")
    assert [row["chosen_ids"] for row in data] == [[a, other], [a, b]]
    assert [row["rejected_ids"] for row in data] == [[b], [b, b, END]]
    assert counts == {"pairs": 3, "cut": 0, "left_out": 1}, "a response without a token"


def test_no_end_token_follows_a_response_that_was_cut(base, tmp_path, capsys):
    """By the cut of the preferences, or by the token limit when it was sampled or is read."""
    ending = Endings(AutoTokenizer.from_pretrained(base), [END], END)
    rows = [{"prompt": "p", "chosen": "a b c a", "rejected": "b"},
            {"prompt": "p", "chosen": "b a", "rejected": "c a b a c"}]  # fmt: skip
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    ends = {}
    for words in (None, 2):
        pairs = read_pairs(file, max_words=words).frame
        data, _ = tokenise(pairs, ending, TEMPLATE, longest=100, max_new_tokens=None)
        ends[words] = [
            [row[name][-1] == END for name in ("chosen_ids", "rejected_ids")] for row in data
        ]
        assert sum(row[name].count(END) for row in data for name in row if "ids" in name) == sum(
            map(sum, ends[words])
        )
    assert ends == {None: [[True, True]] * 2, 2: [[False, True], [True, False]]}
    assert capsys.readouterr().out == ""
    data, counts = tokenise(pairs, ending, TEMPLATE, longest=100, max_new_tokens=1)
    assert counts["cut"] == 2
    assert "2 of 2 pairs are cut to sampling.max_new_tokens" in capsys.readouterr().out


def test_candidates_that_the_token_limit_ended_have_no_end_token(base):
    frame = pd.DataFrame(
        {"prompt_id": "p", "prompt": "p", "response": ["a", "a b", "a b c"],
         "end_token": ["<end>", "<end>", ""]}
    )  # fmt: skip
    pairs = lambda_pairs(frame, np.array([[0.0], [2.0], [1.0]]), np.array([1.0]), 1, 10)
    assert len(pairs) == 3
    for name in ("chosen", "rejected"):
        assert (pairs[f"{name}_end"] == "").tolist() == (pairs[name] == "a b c").tolist()
    ending = Endings(AutoTokenizer.from_pretrained(base), [END], END)
    data, _ = tokenise(pairs, ending, TEMPLATE, longest=100, max_new_tokens=None)
    texts = {tuple(row[name]) for row in data for name in ("chosen_ids", "rejected_ids")}
    assert texts == {(2, END), (2, 3, END), (2, 3, 4)}


def test_same_seed_and_resumption(base, tmp_path, monkeypatch):
    pairs = lam_pairs(base, each=20, pairs=100)
    settings = {"epochs": 2, "batch_size": 20, "save_every": 3, "seed": 2}
    for name in ("one", "two"):
        train(base, pairs, tmp_path / name, **settings)
    train(base, pairs, tmp_path / "other", **{**settings, "seed": 3})
    calls = []
    original = SoftDPOTrainer._compute_loss

    def dies(self, *arguments):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(SoftDPOTrainer, "_compute_loss", dies)
    with pytest.raises(KeyboardInterrupt):
        train(base, pairs, tmp_path / "killed", **settings)
    record = train(base, pairs, tmp_path / "killed", **settings)
    assert (record["resumed_from"], record["steps"]) == (6, 10)
    one, two, killed, other = (
        load_file(tmp_path / name / "model/model.safetensors")
        for name in ("one", "two", "killed", "other")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert all(torch.equal(one[key], killed[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)
    tables = [pd.read_csv(tmp_path / name / "model/metrics.csv") for name in ("one", "killed")]
    pd.testing.assert_frame_equal(*tables)


def test_accumulation_changes_only_rounding(base, tmp_path):
    pairs = lam_pairs(base, each=20, pairs=80)
    train(base, pairs, tmp_path / "one", batch_size=20)
    train(base, pairs, tmp_path / "parts", batch_size=20, accumulation=4)
    one, parts = (distribution(tmp_path / name / "model") for name in ("one", "parts"))
    assert np.abs(one - distribution(base)).max() > 0.01
    np.testing.assert_allclose(one, parts, atol=1e-3)


def test_candidates_are_exact_only_as_dpo_sees_them():
    assert is_exact(SamplingRule(max_new_tokens=3))
    for change in ({"temperature": 0.9}, {"top_k": 5}, {"top_p": 0.9}):
        assert not is_exact(SamplingRule(**change))


def test_the_trainer_takes_the_settings_of_a_policy():
    options = {"learning_rate": 1e-3, "lora": {"rank": 4}}
    mixed, labelled = declared.policies(
        Settings(
            mixtures={"m": {"a": 0.5, "b": 0.5}}, beta=[0.3], test_pairs=7, epochs=2,
            labelled=Labelled(palettes=["p"], pairs=9, **options), **options,
        )
    )  # fmt: skip
    section = Mixed(**json.loads(json.dumps(mixed.settings)))
    assert (section.beta, section.mixture) == (0.3, {"a": 0.5, "b": 0.5})
    assert (section.test_pairs, section.epochs, section.lora) == (7, 2, Lora(rank=4))
    assert Labels(**json.loads(json.dumps(labelled.settings))) == Labels(pairs=9, **options)
    with pytest.raises(ValidationError, match="beta"):
        Dpo(**mixed.settings)


def test_refuses_pairs_without_room(base, tmp_path):
    pairs = pd.DataFrame({"prompt": ["a " * 9], "chosen": ["a"], "rejected": ["b"]})
    with pytest.raises(InputError, match="no pair left"):
        train(base, pairs, tmp_path)


@pytest.mark.parametrize("lora", [None, Lora(rank=2, merge=False)], ids=["whole", "adapters"])
def test_held_out_pairs_are_judged_by_the_exact_log_ratios(base, tmp_path, lora):
    train_pairs = lam_pairs(base, each=40, pairs=200)
    chosen, rejected = np.random.default_rng(4).permutation(len(texts()))[:80].reshape(2, 40)
    at = np.arange(40) % len(PROMPTS)
    test = pd.DataFrame(
        {
            "prompt": np.array(PROMPTS)[at],
            "chosen": np.array(texts())[chosen],
            "rejected": np.array(texts())[rejected],
        }
    )
    record = train(base, train_pairs, tmp_path, beta=0.7, pairs_test=test, lora=lora)
    ratio = np.log(distribution(tmp_path / "model") / distribution(base))
    margins = 0.7 * (ratio[at, chosen] - ratio[at, rejected])
    assert np.abs(margins).max() > 0.1
    assert record["held_out"] == pytest.approx(calibration(margins), abs=1e-4)
    assert sum(row["pairs"] for row in record["reliability"]) == 40
    assert record["counts_test"] == {"pairs": 40, "cut": 40, "left_out": 0}


def test_held_out_pairs_are_a_mixture_of_what_is_there():
    """Of 30 and 40 test pairs no more than 40 can be 3 : 1."""
    frames = {
        name: pd.DataFrame({"prompt": "p", "chosen": [f"{name} {n}" for n in range(size)],
                            "rejected": "worse"})
        for name, size in (("a", 30), ("b", 40))
    }  # fmt: skip
    for asked, expected in ((500, {"a": 30, "b": 10}), (8, {"a": 6, "b": 2})):
        section = Mixed(beta=0.1, mixture={"a": 0.75, "b": 0.25, "c": 0.0}, test_pairs=asked)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dpo, "_read", lambda sources: (sources, {"a": {"kept": 30}}))
            pairs, counts = dpo.held_out_pairs(section, frames, seed=1)
        assert pairs["source"].value_counts().to_dict() == expected
        assert counts == {"a": {"kept": 30}}


def test_a_single_file_is_judged_on_prompts_that_are_not_trained_on(tmp_path, monkeypatch):
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p {n}", "chosen": "a", "rejected": "b"} for n in range(200)]
    file.write_text("\n".join(map(json.dumps, rows)))
    options = {"mixture": {"mine": 1.0}, "pairs": 150, "test_pairs": 500, "epochs": 1, "beta": 0.1}
    settings = {
        "settings": {**options, "batch_size": 4, "learning_rate": 1e-4},
        "model": {"source": "m", "revision": None, "dtype": "float32", "device": "cpu"},
        "template": TEMPLATE, "sampling": {"max_new_tokens": 4}, "seed": 1,
        "preferences": {"mine": {"source": str(file), "max_words": None, "held_out": 0.1}},
    }  # fmt: skip
    job = Job(settings, {"pairs:mine": [file], "held_out:mine": [file]}, {}, tmp_path)
    seen = {}

    def noting(model, pairs, section, run, output, *, pairs_test, **named):
        seen.update(train=set(pairs["prompt"]), test=set(pairs_test["prompt"]))
        return {}

    monkeypatch.setattr("polyalign.train.dpo.train_dpo", noting)
    record = dpo.train(training_inputs(job), tmp_path / "model")
    assert len(seen["train"]) == 150
    assert len(seen["test"]) == record["read_test"]["mine"]["kept"] > 0
    assert not seen["train"] & seen["test"]


def test_a_training_that_diverges_ends_at_once_and_leaves_no_model(base, tmp_path):
    pairs = lam_pairs(base, each=20, pairs=80)
    with pytest.raises(FloatingPointError, match=r"is (nan|inf) at step .*lower learning_rate"):
        train(base, pairs, tmp_path, batch_size=8, learning_rate=1e30, save_every=1)
    assert not (tmp_path / "model").exists()


def test_weights_that_the_last_step_broke_are_not_saved(base, tmp_path):
    """All pairs in one step: its loss is that of the base model."""
    pairs = lam_pairs(base, each=20, pairs=8)
    with pytest.raises(FloatingPointError, match=r"weight .* after step 1: .*lower learning_rate"):
        train(base, pairs, tmp_path, batch_size=8, learning_rate=1e39)
    assert not (tmp_path / "model").exists()


def test_more_parts_after_a_lack_of_memory_change_only_rounding(base, tmp_path, monkeypatch):
    """Memory for 4 pairs at once: the run fails with 10, and resumes with 2."""
    pairs = lam_pairs(base, each=20, pairs=80)
    settings = {"batch_size": 10, "log_every": 2, "save_every": 2}
    train(base, pairs, tmp_path / "one", **settings)
    original, rows = SoftDPOTrainer._compute_loss, []

    def short(self, model, inputs, return_outputs):
        rows.append(len(inputs["preference"]))
        if self.state.global_step >= 4 and rows[-1] > 4:
            raise torch.OutOfMemoryError("full")
        return original(self, model, inputs, return_outputs)

    monkeypatch.setattr(SoftDPOTrainer, "_compute_loss", short)
    for parts in (1, 2):
        with pytest.raises(torch.OutOfMemoryError):
            train(base, pairs, tmp_path / "parts", microbatch_factor=parts, **settings)
    record = train(base, pairs, tmp_path / "parts", microbatch_factor=4, **settings)
    assert record["resumed_from"] == 4
    assert record["settings"]["parts"] == 4
    assert rows == [10] * 5 + [5] + [2] * 5 * 4
    one, parts = (distribution(tmp_path / name / "model") for name in ("one", "parts"))
    assert np.abs(one - distribution(base)).max() > 0.01
    np.testing.assert_allclose(one, parts, atol=1e-3)


def test_a_batch_of_single_pairs_has_no_more_parts(base, tmp_path):
    pairs = lam_pairs(base, each=20, pairs=20)
    with pytest.raises(InputError, match=r"GPU memory ran out with 4 rows .*checkpointing or lora"):
        train(base, pairs, tmp_path, batch_size=8, accumulation=2, microbatch_factor=8)
