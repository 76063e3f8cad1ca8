"""Weights in 4 or 8 bits, with which bitsandbytes computes on an NVIDIA GPU."""

from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from polyalign.errors import InputError


def in_few_bits(bits: int, dtype: torch.dtype, setting: str) -> dict[str, Any]:
    """The options of transformers' loaders for weights in 4 bits (NF4) or 8.

    Sources: Dettmers et al. 2022 (arXiv 2208.07339) for 8 bits, 2023 (arXiv 2305.14314) for NF4.

    Args:
        bits: 4 or 8.
        dtype: in which the model computes, and of what is not quantised.
        setting: what asks for it, for messages.

    Raises:
        InputError: if there is no GPU, or no bitsandbytes.
    """
    lacking = "" if torch.cuda.is_available() else "there is no NVIDIA GPU"
    if not lacking and find_spec("bitsandbytes") is None:
        lacking = "bitsandbytes is not installed"
    if lacking:
        raise InputError(
            f"{setting}: {lacking}; expected a GPU and the package bitsandbytes; leave it out, or "
            "run where both are"
        )
    if bits == 8:
        small = BitsAndBytesConfig(load_in_8bit=True)
    else:
        small = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    return {"dtype": dtype, "quantization_config": small}
