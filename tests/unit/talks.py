"""A tiny language model with a chat template, and prompts of several turns for it."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from polyalign.data.chats import Message, prompt_of

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS: list[Message] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "So?"},
]
TALK = prompt_of(TURNS)
SAID = "Hi\n\nAssistant: Hello\n\nHuman: So?"
IN_CHAT = (
    "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nSo?<|im_end|>\n"
)
OPENED = f"{IN_CHAT}<|im_start|>assistant\n"


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, a chat template, and its two special tokens."""
    special = ["<|im_end|>", "<pad>", "<|im_start|>"]
    vocabulary = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({token: place for place, token in enumerate(vocabulary)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=special[0],
        pad_token=special[1],
        additional_special_tokens=special[2:],
    )
    made.chat_template = CHATML
    return made


def save_chat_model(folder: Path, kind: Any = GPT2LMHeadModel, **settings: Any) -> str:
    """A tiny model of some kind, with random weights, and its tokenizer; its folder."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=260, n_embd=16, n_layer=2, n_head=2, n_positions=256,
        bos_token_id=0, eos_token_id=0, pad_token_id=1, initializer_range=0.3, **settings,
    )  # fmt: skip
    kind(config).save_pretrained(folder)
    chat_tokenizer().save_pretrained(folder)
    return str(folder)
