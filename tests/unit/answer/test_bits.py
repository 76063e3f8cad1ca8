"""Models in 4 or 8 bits answer where a GPU allows it, and are refused in one sentence elsewhere."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from polyalign.answer.answers import Answerer
from polyalign.answer.ways import Asked, Way
from polyalign.cli import answer, app, serve
from polyalign.errors import InputError
from polyalign.models import few_bits, load
from polyalign.models.few_bits import in_few_bits
from polyalign.study import Study

on_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("bitsandbytes") is None,
    reason="no CUDA device, or no bitsandbytes",
)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_without_a_gpu_few_bits_are_refused(study: Study) -> None:
    with pytest.raises(InputError, match="weights in 4 bits: there is no NVIDIA GPU; expected"):
        Answerer(study, bits=4)


def test_without_bitsandbytes_few_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(few_bits, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="bitsandbytes is not installed"):
        in_few_bits(8, torch.bfloat16, "--bits")


@pytest.mark.parametrize("bits", [4, 8])
def test_the_loader_gets_what_transformers_needs(
    monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    """The options of the loader, with a GPU and the package as stand-ins."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(few_bits, "find_spec", lambda name: object())
    asked = {}

    def loaded(loader, source, what, **options):
        asked.update(options)
        return torch.nn.Linear(2, 2)

    monkeypatch.setattr(load, "load_model", loaded)
    monkeypatch.setattr(load, "attend_by_length", lambda model: None)
    monkeypatch.setattr(load, "fused", lambda model: model)
    load._placed(None, "here", "model", dtype="bfloat16", bits=bits)
    assert asked["device_map"] == "cuda:0"
    assert asked["dtype"] == torch.bfloat16
    chosen = asked["quantization_config"]
    assert (chosen.load_in_4bit, chosen.load_in_8bit) == (bits == 4, bits == 8)
    if bits == 4:
        assert chosen.bnb_4bit_quant_type == "nf4"
        assert chosen.bnb_4bit_compute_dtype == torch.bfloat16


@pytest.mark.parametrize("command", [answer, app, serve])
def test_every_command_that_answers_takes_bits(command) -> None:
    words = ["prompt"] if command is answer else []
    assert command.make_parser().parse_args([*words, "--bits", "8"]).bits == 8
    assert command.make_parser().parse_args(words).bits is None


def test_value_d_needs_whole_weights(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(answerer.base_settings, "bits", 4)
    asked = Asked("a", Way("base/base", "learnt", lam={"sweet": 1.0}), 1)
    with pytest.raises(InputError, match="value-d adds to the weights"):
        answerer.check(asked)


@on_gpu
@pytest.mark.parametrize("bits", [4, 8])
def test_few_bits_are_near_the_whole_model(here, bits: int) -> None:
    """On a GPU: probabilities of the next token near those of the weights as they are."""
    source = str(here / "results/tiny/models/base/base")
    ids = torch.tensor([[3, 4, 5]], device="cuda")
    whole, small = (
        load.load_causal_lm(source, device="cuda", **more)(ids).logits.float().softmax(-1)
        for more in ({}, {"bits": bits})
    )
    assert np.abs((whole - small).detach().cpu().numpy()).max() < 0.1
