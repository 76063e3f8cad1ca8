"""Training on all candidates, listwise DPO and `sft`: they lead to p_λ, and to nothing else."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from enumerable import END, LAM, LENGTH, TEMPLATE, TOKENS, distribution, divergence, target
from safetensors.torch import load_file
from test_dpo import candidates
from trainers import killed_at, told
from transformers import AutoTokenizer

from polyalign.data.keys import split_of
from polyalign.errors import InputError
from polyalign.families import dpo as declared_dpo
from polyalign.families import sft as declared_sft
from polyalign.families.dpo import Labelled, Labels
from polyalign.families.options import Lora
from polyalign.families.sft import Sft
from polyalign.models.endings import Endings
from polyalign.train import dpo, sft
from polyalign.train.candidates import (
    HELD_OUT,
    Collator,
    scored_candidates,
    tokenise,
    train_on_candidates,
)
from polyalign.train.inputs import TrainingInputs
from polyalign.train.listwise import ListwiseTrainer
from polyalign.train.sft import SelectionTrainer, odds

# Section, trainer and settings of a run to the optimum.
LOSSES = {
    "listwise": (Labels, ListwiseTrainer, {"batch_size": 8, "epochs": 2}),
    "sft": (Sft, SelectionTrainer, {"batch_size": 64, "epochs": 1}),
}


# Lists of candidates that it needs. The weights of sft are noisy, so that its steps are smaller.
LISTS = {"listwise": 150, "sft": 400}
STEPS = {"listwise": 3e-3, "sft": 1.5e-3}


def pool(base, lists, each=12, lam=None, top=0):
    """`lists` independent lists of `each` candidates of every prompt, as if they were prompts."""
    frame, rewards = candidates(distribution(base), lists * each, top)
    weights = np.array(list(LAM.values()) if lam is None else lam)
    number = np.tile(np.arange(lists).repeat(each), 2)
    ids = [f"{name} {n}" for name, n in zip(frame["prompt"], number, strict=True)]
    return frame.assign(prompt_id=ids, score=rewards @ weights)


def train(loss, base, frame, folder, held_out=None, **changes):
    kind, trainer, options = LOSSES[loss]
    settings = {"learning_rate": 3e-3, **options, **changes}
    section, run, _ = told(kind, folder, **settings)
    aside = frame[:0] if held_out is None else held_out
    return train_on_candidates(
        trainer, str(base), frame, aside, section, run, folder / "model",
        template=TEMPLATE, max_new_tokens=LENGTH,
    )  # fmt: skip


def reached(loss, base, folder, frame, **changes):
    start = distribution(base)
    goal = target(start)
    assert divergence(start, goal) >= 0.5
    settings = {"learning_rate": STEPS[loss], "log_every": 50, **changes}
    record = train(loss, base, frame, folder, **settings)
    nats = divergence(distribution(folder / "model"), goal)
    print(f"{loss}: KL to the target: base {divergence(start, goal):.3f}, trained {nats:.4f}, "
          f"{record['seconds']} s, {record['steps']} steps")  # fmt: skip
    return nats


@pytest.mark.parametrize("loss", LOSSES)
def test_leads_to_the_exact_optimum(base, tmp_path, loss):
    assert reached(loss, base, tmp_path, pool(base, LISTS[loss])) <= 0.05


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "changes",
    [
        {"lam": (LAM["sweet"], 0.0)},
        {"lam": (0.0, 0.0)},
        {"lam": (-LAM["sweet"], -LAM["apt"])},
        {"top": 12},
    ],
    ids=["a dropped value", "λ ignored", "a wrong sign", "candidates with top_k"],
)
def test_misses_the_optimum_of_something_else(base, tmp_path, loss, changes):
    """None of these may hide behind the bar; as long a training of the right one passes it."""
    assert reached(loss, base, tmp_path, pool(base, LISTS[loss], **changes)) > 0.1


def test_weights_over_a_list_of_its_own_would_stay_behind(base, tmp_path, monkeypatch):
    """softmax(λ·r), with each candidate in its own denominator: the optimum of map-d among 3."""

    def softmax(score):
        return np.exp(score - np.logaddexp.reduce(score))

    frame = pool(base, lists=1600, each=3)
    ours = reached("sft", base, tmp_path / "ours", frame)
    monkeypatch.setattr(sft, "odds", softmax)
    assert ours <= 0.05 < 0.1 < reached("sft", base, tmp_path / "softmax", frame)


def test_odds_are_unbiased_whatever_the_others_are():
    """E[w | y] is proportional to exp(score), by enumeration; that of the softmax is not."""
    scores, chances, size = np.array([0.0, 1.0, 3.0]), np.array([0.5, 0.3, 0.2]), 3
    expected = {"odds": np.zeros(3), "softmax": np.zeros(3)}
    for others in np.ndindex(*(3,) * (size - 1)):
        for own in range(3):
            drawn = scores[[own, *others]]
            expected["odds"][own] += chances[list(others)].prod() * odds(drawn)[0]
            share = np.exp(drawn[0] - np.logaddexp.reduce(drawn))
            expected["softmax"][own] += chances[list(others)].prod() * share
    assert np.allclose(expected["odds"] / expected["odds"][0], np.exp(scores))
    assert (expected["softmax"] / expected["softmax"][0] < np.exp(scores))[1:].all()
    np.testing.assert_allclose(odds(np.array([900.0, 900.0])), 1)
    assert np.isfinite(odds(np.array([0.0, 600.0, -600.0]))).all()


def tokenised(score, prompts):
    return pd.DataFrame(
        {"prompt_id": prompts, "prompt_ids": [[1]] * len(score), "score": score,
         "response_ids": [[number] for number in range(len(score))]}
    )  # fmt: skip


def test_rows_and_their_weights():
    """A prompt with one candidate is left out; a response drawn twice counts twice."""
    frame = tokenised([0.0, 1.0, 1.0, 5.0, -2.0, 3.0], ["a", "a", "a", "b", "c", "c"])
    first, second = ListwiseTrainer.rows(frame)
    assert first["response_ids"] == [[0], [1], [2]]
    e = np.e
    np.testing.assert_allclose(first["weights"], np.array([1, e, e]) / (1 + 2 * e))
    np.testing.assert_allclose(second["weights"], np.array([1, e**5]) / (1 + e**5))
    single = SelectionTrainer.rows(frame)
    assert [row["response_ids"] for row in single] == [[[n]] for n in (0, 1, 2, 4, 5)]
    weights = np.array([row["weights"][0] for row in single])
    raw = np.array([1 / e, 2 * e / (1 + e), 2 * e / (1 + e), e**-5, e**5])
    np.testing.assert_allclose(weights, raw / raw.mean())
    for trainer in (ListwiseTrainer, SelectionTrainer):
        with pytest.raises(InputError, match="no prompt has two; expected several"):
            trainer.rows(tokenised([0.0, 1.0], ["a", "b"]))


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_is_the_definition(base, tmp_path, monkeypatch, loss):
    """Against logits computed again, at a model that differs from the base."""
    trainer, seen = LOSSES[loss][1], {}
    original = trainer.compute_loss

    def spy(self, model, inputs, *arguments, **named):
        def sums():
            ids = inputs["input_ids"]
            logits = model(ids, attention_mask=inputs["attention_mask"]).logits[:, :-1]
            each = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
            return (each * (inputs["labels"][:, 1:] != -100)).sum(1)

        with torch.no_grad():
            reference = sums()
            for weight in model.parameters():
                numbers = torch.arange(weight.numel(), device=weight.device)
                weight.add_(0.05 * torch.sin(numbers.view_as(weight)))
            ratio, weights = sums() - reference, inputs["weights"]
            if loss == "sft":
                expected = -(weights * sums()).mean()
            else:
                torch.testing.assert_close(inputs["reference"], reference, atol=1e-4, rtol=0)
                parts = zip(ratio.view(2, 3).log_softmax(1), weights.view(2, 3), strict=True)
                expected = sum((w * (w.log() - v)).sum() for v, w in parts) / 2
        made = original(self, model, inputs, *arguments, **named)
        seen.update(made=made.item(), expected=expected.item(), moved=ratio.abs().max().item())
        return made

    monkeypatch.setattr(trainer, "compute_loss", spy)
    frame = pd.DataFrame(
        {"prompt_id": ["x"] * 3 + ["y"] * 3, "prompt": ["p"] * 3 + ["p q"] * 3,
         "response": ["a b", "c", "a", "b", "a a a", "c"],
         "end_token": [*["<end>"] * 4, "", "<end>"],
         "score": [0.0, 1.0, 0.5, 2.0, 0.0, 1.0]}
    )  # fmt: skip
    train(loss, base, frame, tmp_path, batch_size=2 if loss == "listwise" else 6, epochs=1)
    assert seen["moved"] > 0.05
    assert seen["made"] == pytest.approx(seen["expected"], rel=1e-4)


def test_a_response_ends_as_it_was_sampled(base, capsys):
    ending = Endings(AutoTokenizer.from_pretrained(base), [END], END)
    frame = pd.DataFrame(
        {"prompt": ["p"] * 4 + ["p a a a a a"], "response": ["a", "a b c", "a b c a", "", "a"],
         "end_token": ["<end>", "", "<end>", "", "<end>"]}
    )  # fmt: skip
    made, counts = tokenise(frame, ending, TEMPLATE, longest=7, max_new_tokens=LENGTH)
    assert list(made["response_ids"]) == [[2, END], [2, 3, 4], [2, 3, 4]]
    assert counts == {"candidates": 5, "cut": 1, "left_out": 2}
    assert "1 of 5 candidates are cut" in capsys.readouterr().out
    batch = Collator(END)(
        [{"prompt_ids": [5, 1], "response_ids": [[2, END], [2, 3, 4]], "weights": [0.25, 0.75]}]
    )
    assert batch["labels"].tolist() == [[-100, -100, 2, END, -100], [-100, -100, 2, 3, 4]]
    assert batch["attention_mask"].sum(1).tolist() == [4, 5]
    assert TOKENS[END] == "<end>"


@pytest.mark.parametrize("loss", LOSSES)
def test_held_out_prompts_choose_the_checkpoint(base, tmp_path, loss):
    """With listwise they ask for the opposite here: the best step is the first.

    The likelihood of sft rises at first, whatever its weights are.
    """
    frame, aside = pool(base, lists=3), pool(base, lists=3)
    aside["score"] *= -1
    settings = {"epochs": 4, "save_every": 2, "learning_rate": 3e-4}
    settings["batch_size"] = 2 if loss == "listwise" else 24
    record = train(loss, base, frame, tmp_path / "judged", held_out=aside, **settings)
    metrics = pd.read_csv(tmp_path / "judged/model/metrics.csv")
    assert metrics["step"].is_unique
    best = metrics.loc[metrics["eval_loss"].idxmin()]
    assert record["judged"]["step"] == best["step"]
    assert record["judged"]["loss"] == pytest.approx(best["eval_loss"], rel=1e-4)
    if loss == "listwise":
        assert best["step"] == 2 < record["steps"]
    alone = train(loss, base, frame, tmp_path / "alone", **settings)
    assert "judged" not in alone
    last, chosen = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("alone", "judged")
    )
    same = all(torch.equal(last[key], chosen[key]) for key in last)
    assert same == (best["step"] == record["steps"])


def test_the_prompts_held_out_are_a_tenth_of_those_that_are_fitted():
    """Though the split of the study takes prompts by hash as well."""
    prompts = [text for text in map(str, range(3000)) if split_of(text, 0.35) == "fit"]
    frame = pd.DataFrame({"prompt": prompts, "one": 1.0, "two": np.arange(len(prompts))})
    told_ = dict.fromkeys(TrainingInputs.__dataclass_fields__)
    palette = {"values": ["one", "two"], "lam_train": [0.5, 2.0], "lam": [9.0, 9.0]}
    inputs = TrainingInputs(**{**told_, "candidates": frame, "palette": palette})
    ours, aside = scored_candidates(inputs)
    assert len(aside) / len(frame) == pytest.approx(HELD_OUT, abs=0.02)
    assert not set(ours["prompt"]) & set(aside["prompt"])
    np.testing.assert_allclose(aside["score"], 0.5 + 2 * aside["two"])


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=8)], ids=["whole", "adapters"])
@pytest.mark.parametrize("loss", LOSSES)
def test_killed_and_resumed_equals_uninterrupted(base, tmp_path, loss, lora):
    frame, aside = pool(base, lists=12), pool(base, lists=3)
    settings = {"save_every": 2, "lora": lora, "held_out": aside, "epochs": 1}
    settings["batch_size"] = 4 if loss == "listwise" else 48
    train(loss, base, frame, tmp_path / "whole", **settings)
    with killed_at(5):
        train(loss, base, frame, tmp_path / "killed", **settings)
    record = train(loss, base, frame, tmp_path / "killed", **settings)
    assert (record["resumed_from"], record["steps"]) == (4, 6)
    whole, killed = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    tables = [pd.read_csv(tmp_path / name / "model/metrics.csv") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*tables)


def test_accumulation_changes_only_rounding(base, tmp_path):
    frame = pool(base, lists=12)
    for loss in LOSSES:
        size = {"batch_size": 8 if loss == "listwise" else 48, "epochs": 1}
        train(loss, base, frame, tmp_path / loss / "one", **size)
        train(loss, base, frame, tmp_path / loss / "parts", accumulation=4, **size)
        one, parts = (distribution(tmp_path / loss / name / "model") for name in ("one", "parts"))
        assert np.abs(one - distribution(base)).max() > 0.01
        np.testing.assert_allclose(one, parts, atol=1e-3)


def test_the_trainers_take_the_settings_of_a_policy(base, tmp_path, monkeypatch):
    (selected,) = declared_sft.policies(declared_sft.Settings(palettes=["p"], batch_size=7))
    assert (selected.reads, selected.uses_pool, selected.palette) == ("candidates", True, "p")
    assert Sft(**json.loads(json.dumps(selected.settings))).batch_size == 7
    made = {}
    for pairs in (None, 9):
        section = declared_dpo.Settings(labelled=Labelled(palettes=["p"], pairs=pairs))
        (policy,) = declared_dpo.policies(section)
        made[pairs] = policy
    assert (made[None].reads, made[9].reads) == ("prompts", "pairs")
    called = []
    monkeypatch.setattr(dpo.listwise, "train", lambda *given: called.append(given))
    told_ = dict.fromkeys(TrainingInputs.__dataclass_fields__)
    dpo.train(TrainingInputs(**{**told_, "settings": made[None].settings}), tmp_path)
    assert len(called) == 1
