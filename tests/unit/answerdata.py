"""A tiny study that has run: an untrained base model, one trained policy, one solved palette."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from polyalign.models.value_model import ValueModel

WORDS = ["<eos>", *"abcdefgh", ":"]
LAM = {"vowels": 0.8, "diversity": 2.0}
MOVED = {"vowels": 0.6, "diversity": 0.5}
"""λ of value-d/open, which has moved from the palette's λ for training."""

CONFIG = {
    "study": "tiny",
    "seed": 5,
    "sandbox": {},
    "model": {"source": "results/tiny/models/base/base", "device": "cpu"},
    "prompts": {"sources": [{"path": "prompts.jsonl"}], "template": "{prompt} :"},
    "sampling": {"max_new_tokens": 6, "candidates": 8, "temperature": 1.3, "top_k": 8},
    "values": {
        "vowels": {"kind": "python", "function": "REWARD:vowels"},
        "diversity": {"kind": "ngram_diversity"},
        "fluency": {"kind": "log_likelihood"},
    },
    "palettes": {"open": {"vowels": "q70", "diversity": "mean"}, "shut": {"vowels": "q60"}},
    "policies": {
        "map-d": {"palettes": ["open"], "lam": {"own": {"vowels": 0.5}}},
        "morl-d": {"count": 1, "cap": 1.0, "values": ["vowels"]},
        "best-of": {"palettes": ["open"]},
        "token-d": {
            "palettes": ["open"],
            "lam": {"guided": {"vowels": 3.0}},
            "interval": 2,
            "top_k": 6,
        },
        "value-d": {"palettes": ["open"], "lam": {"learnt": {"vowels": 2.0}}},
        "rloo": {"palettes": ["open", "shut"]},
    },
    "evaluation": {"evaluate_only": ["fluency"]},
}

REWARD = """\
def vowels(prompts, responses):
    found = [text.count("a") + text.count("e") for text in responses]
    return [count + 0.25 * (prompt[0] in text)
            for count, prompt, text in zip(found, prompts, responses)]
"""


def save_model(folder: Path, seed: int) -> None:
    """A random model with 24 positions and opinions, its tokenizer and its manifest."""
    inner = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="a")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<eos>"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = GPT2Config(
        n_embd=16, n_layer=2, n_head=2, n_positions=24, vocab_size=len(WORDS),
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    for weight in model.parameters():
        weight.data *= 2.5
    model.save_pretrained(folder)
    Path(f"{folder}.json").write_text("{}", encoding="utf-8")


def save_value_model(base: Path, folder: Path) -> None:
    """A value model with random changes, and its manifest."""
    torch.manual_seed(3)
    model = GPT2LMHeadModel.from_pretrained(base)
    learnt = ValueModel(model, ["vowels", "diversity"], scale=[0.7, 0.2], rank=2, seed=4)
    for half in learnt.up:
        torch.nn.init.normal_(half, std=0.6)
    learnt.save_pretrained(folder)
    Path(f"{folder}.json").write_text("{}", encoding="utf-8")


def make_study(folder: Path, reward: str = "vowel_reward") -> None:
    """Write the study below `folder`.

    Args:
        folder: what holds `results`.
        reward: the module of its own reward; Python imports a module of one name once.
    """
    results = folder / "results/tiny"
    save_model(results / "models/base/base", 1)
    save_model(results / "models/rloo/open", 2)
    save_value_model(results / "models/base/base", results / "models/value/pool")
    (results / "config.json").write_text(
        json.dumps(CONFIG).replace("REWARD", reward), encoding="utf-8"
    )
    (results / "palettes/lam").mkdir(parents=True)
    solved = {
        "palette": "open", "status": "solved", "values": list(LAM), "lam": list(LAM.values()),
        "lam_train": [0.5, 0.5],
    }  # fmt: skip
    unsolved = {"palette": "shut", "status": "infeasible", "message": "no policy reaches it"}
    for record in (solved, unsolved):
        file = results / f"palettes/lam/{record['palette']}.json"
        file.write_text(json.dumps(record), encoding="utf-8")
    moved = results / "policies/value-d/open/lam.json"
    moved.parent.mkdir(parents=True)
    moved.write_text(json.dumps({"lam": MOVED}), encoding="utf-8")
    (folder / "prompts.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n', encoding="utf-8")
    (folder / f"{reward}.py").write_text(REWARD, encoding="utf-8")
