"""Soups: exact endpoints, exact averages, refusals by name, little memory, light imports."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from polyalign import cli
from polyalign.errors import InputError
from polyalign.models import safetensors_io
from polyalign.models.safetensors_io import decode, encode
from polyalign.train.soup import make_soup


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks smaller than a tensor, so that streaming in parts is what is tested."""
    monkeypatch.setattr(safetensors_io, "BLOCK", 100)


def save_model(folder: Path, seed: int, dtype=torch.float32, shard="1GB", **changes) -> Path:
    torch.manual_seed(seed)
    config = GPT2Config(
        **{"vocab_size": 13, "n_positions": 8, "n_embd": 16, "n_layer": 2, "n_head": 2,
           "bos_token_id": 0, "eos_token_id": 0, **changes}
    )  # fmt: skip
    GPT2LMHeadModel(config).to(dtype).save_pretrained(folder, max_shard_size=shard)
    tokenizer = {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 0, "content": "a"}]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {key: value for file in folder.glob("*.safetensors")
            for key, value in load_file(file).items()}  # fmt: skip


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.numpy(force=True).tobytes() == (
        other.numpy(force=True).tobytes()
    )


@pytest.mark.parametrize("shard", ["1GB", "5KB"])
def test_endpoints_bit_by_bit(tmp_path, shard):
    one = save_model(tmp_path / "one", 1, shard=shard)
    two = save_model(tmp_path / "two", 2)
    with torch.no_grad():
        tensors = weights_of(two)
        name = next(iter(tensors))
        tensors[name].view(-1)[:3] = torch.tensor([-0.0, 1e-40, float("nan")])
        save_file(tensors, two / "model.safetensors", metadata={"format": "pt"})
    for weights, kept in (((1, 0), one), ((0, 1), two)):
        out = tmp_path / f"soup-{weights[0]}"
        make_soup([(one, weights[0]), (two, weights[1])], out)
        expected, got = weights_of(kept), weights_of(out)
        assert expected.keys() == got.keys()
        assert all(same(expected[key], got[key]) for key in expected)
        assert sorted(f.name for f in out.iterdir()) == sorted(f.name for f in kept.iterdir())


def test_three_way_streaming_equals_in_memory_whatever_the_shards(tmp_path):
    folders = [save_model(tmp_path / str(i), i, shard=size)
               for i, size in enumerate(["1GB", "5KB", "9KB"])]  # fmt: skip
    parts = [0.2, 0.5, 0.3]
    record = make_soup(list(zip(folders, parts, strict=True)), tmp_path / "soup")
    states = [weights_of(folder) for folder in folders]
    got = weights_of(tmp_path / "soup")
    for name in states[0]:
        mean = sum(p * s[name].double() for p, s in zip(parts, states, strict=True)).float()
        assert torch.equal(got[name], mean), name
    assert record["tensors"] == len(got)
    assert record["parameters"] == sum(tensor.numel() for tensor in got.values())
    again = make_soup(list(zip(folders[1:], [0.5, 0.5], strict=True)), tmp_path / "sharded")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "sharded")
    wanted = (states[1]["transformer.wte.weight"] + states[2]["transformer.wte.weight"]) / 2
    torch.testing.assert_close(model.lm_head.weight.data, wanted)
    assert again["kind"] == "model"
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1


def test_bfloat16_rounds_as_torch_does(tmp_path):
    one = save_model(tmp_path / "one", 1, dtype=torch.bfloat16)
    two = save_model(tmp_path / "two", 2)
    make_soup([(one, 0.5), (two, 0.5)], tmp_path / "soup")
    a, b, got = weights_of(one), weights_of(two), weights_of(tmp_path / "soup")
    for name in a:
        assert got[name].dtype == torch.bfloat16
        assert torch.equal(got[name], ((a[name].double() + b[name].double()) / 2).bfloat16()), name
    numbers = np.array([1.0, -2.5, 3e38, np.inf, -np.inf, 1e-39, 1.00390625, 1.01171875])
    expected = torch.tensor(numbers).bfloat16().float().numpy()
    np.testing.assert_array_equal(decode(encode(numbers, "BF16"), "BF16"), expected)
    assert np.isnan(decode(encode(np.array([np.nan]), "BF16"), "BF16")).all()


def add_tensors(folder: Path, **tensors: torch.Tensor) -> None:
    file = folder / "model.safetensors"
    save_file({**load_file(file), **tensors}, file, metadata={"format": "pt"})


def test_stored_copies_of_tied_weights_are_left_out(tmp_path):
    one, two = (save_model(tmp_path / str(i), i) for i in (1, 2))
    embeddings = weights_of(two)["transformer.wte.weight"]
    add_tensors(two, **{"lm_head.weight": embeddings.clone()})
    make_soup([(two, 0.5), (one, 0.5)], tmp_path / "soup")
    assert weights_of(tmp_path / "soup").keys() == weights_of(one).keys()
    add_tensors(two, **{"lm_head.weight": embeddings + 1})
    with pytest.raises(InputError, match=r"1: no tensor 'lm_head\.weight'"):
        make_soup([(two, 0.5), (one, 0.5)], tmp_path / "other")


def test_integers_must_be_equal(tmp_path):
    one, two = (save_model(tmp_path / str(i), i) for i in (1, 2))
    add_tensors(one, table=torch.arange(5), mask=torch.tensor([True, False]))
    add_tensors(two, table=torch.arange(5), mask=torch.tensor([True, False]))
    make_soup([(one, 0.5), (two, 0.5)], tmp_path / "soup")
    assert torch.equal(weights_of(tmp_path / "soup")["table"], torch.arange(5))
    add_tensors(two, table=torch.arange(5) + 1)
    with pytest.raises(InputError, match="integers of 'table' differ"):
        make_soup([(one, 0.5), (two, 0.5)], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_refuses_other_shapes_names_vocabularies_and_architectures(tmp_path):
    one = save_model(tmp_path / "one", 1)
    wider = save_model(tmp_path / "wider", 1, vocab_size=14)
    with pytest.raises(InputError, match="'vocab_size' is 14"):
        make_soup([(one, 0.5), (wider, 0.5)], tmp_path / "soup")
    shutil.copy(one / "config.json", wider / "config.json")
    with pytest.raises(InputError, match=r"'transformer\.wte\.weight' has shape \[14, 16\]"):
        make_soup([(one, 0.5), (wider, 0.5)], tmp_path / "soup")
    heads = save_model(tmp_path / "heads", 1, n_head=4)
    with pytest.raises(InputError, match="'n_head' is 4"):
        make_soup([(one, 0.5), (heads, 0.5)], tmp_path / "soup")
    words = save_model(tmp_path / "words", 1)
    text = (words / "tokenizer.json").read_text().replace('"a": 0', '"b": 0')
    (words / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match="words: its vocabulary differs"):
        make_soup([(one, 0.5), (words, 0.5)], tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [((0.5, 0.6), r"sum to 1\.1"), ((1.5, -0.5), r"expected a number in \[0, 1\]")],
)
def test_refuses_weights(tmp_path, weights, message):
    with pytest.raises(InputError, match=message):
        make_soup([(tmp_path / str(i), w) for i, w in enumerate(weights)], tmp_path / "soup")


def test_refuses_damaged_or_absent_weights(tmp_path):
    one, two = (save_model(tmp_path / str(i), i) for i in (1, 2))
    whole = (two / "model.safetensors").read_bytes()
    for content in (whole[:-8], b"", b"\xff" * 64):
        (two / "model.safetensors").write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as safetensors"):
            make_soup([(one, 0.5), (two, 0.5)], tmp_path / "soup")
    (two / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        make_soup([(one, 0.5), (two, 0.5)], tmp_path / "soup")


def save_adapter(folder: Path, base: Path, seed: int, **changes) -> Path:
    peft = pytest.importorskip("peft")
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        **{"r": 2, "lora_alpha": 4, "target_modules": ["c_attn", "wte"], "fan_in_fan_out": True,
           "task_type": "CAUSAL_LM", **changes}
    )  # fmt: skip
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_()
    model.save_pretrained(folder)
    return folder


def merged(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    peft = pytest.importorskip("peft")
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    return model.merge_and_unload().state_dict()


def test_adapters_average_as_the_merged_models_do(tmp_path):
    base = save_model(tmp_path / "base", 0)
    one = save_adapter(tmp_path / "one", base, 1)
    two = save_adapter(tmp_path / "two", base, 2, r=3, lora_alpha=5, use_rslora=True)
    record = make_soup([(one, 0.3), (two, 0.7)], tmp_path / "soup")
    assert record["kind"] == "adapter"
    a, b, got = (merged(base, folder) for folder in (one, two, tmp_path / "soup"))
    start = AutoModelForCausalLM.from_pretrained(base).state_dict()
    for name in ("transformer.h.0.attn.c_attn.weight", "transformer.wte.weight"):
        assert (got[name] - start[name]).abs().max() > 0.1
        torch.testing.assert_close(got[name], 0.3 * a[name] + 0.7 * b[name], atol=1e-4, rtol=1e-4)
    make_soup([(one, 0), (two, 1)], tmp_path / "end")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "end" / name).read_bytes() == (two / name).read_bytes()


def test_refuses_adapters_that_do_not_add_up(tmp_path):
    base = save_model(tmp_path / "base", 0)
    one = save_adapter(tmp_path / "one", base, 1)
    with pytest.raises(InputError, match="base: not an adapter"):
        make_soup([(one, 0.5), (base, 0.5)], tmp_path / "soup")
    other = save_adapter(tmp_path / "other", save_model(tmp_path / "base2", 0), 1)
    with pytest.raises(InputError, match="'base_model_name_or_path' is"):
        make_soup([(one, 0.5), (other, 0.5)], tmp_path / "soup")
    biased = save_adapter(tmp_path / "biased", base, 1, bias="all")
    with pytest.raises(InputError, match="not a plain LoRA adapter"):
        make_soup([(one, 0.5), (biased, 0.5)], tmp_path / "soup")
    fewer = save_adapter(tmp_path / "fewer", base, 1, target_modules=["c_attn"])
    with pytest.raises(InputError, match="is not in both this adapter"):
        make_soup([(one, 0.5), (fewer, 0.5)], tmp_path / "soup")


def test_the_command_makes_the_same_soup_of_any_folders(tmp_path, capsys):
    one, two = save_model(tmp_path / "one", 1), save_model(tmp_path / "two", 2)
    make_soup([(one, 0.25), (two, 0.75)], tmp_path / "expected")
    output = tmp_path / "mixed"
    assert cli.main(["soup", f"{one}=0.25", f"{two}=0.75", "-o", str(output)]) == 0
    assert "0.25 × " in capsys.readouterr().out
    for name, tensor in weights_of(tmp_path / "expected").items():
        assert same(weights_of(output)[name], tensor)
    for arguments, message in (
        ([f"{one}=0.25", f"{two}=0.75", "-o", str(output)], "is not overwritten"),
        ([f"{one}=1", "-o", str(tmp_path / "x")], "expected two or more"),
        ([f"{one}=0.5", f"{two}=0.6", "-o", str(tmp_path / "x")], "sum to 1.1"),
        ([f"{one}=half", f"{two}=0.5", "-o", str(tmp_path / "x")], "expected a number in [0, 1]"),
        ([f"{one}=0.5", f"{two}s=0.5", "-o", str(tmp_path / "x")], "no such folder"),
    ):
        assert cli.main(["soup", *arguments]) == 2
        err = capsys.readouterr().err
        assert (err.count("\n"), message in err) == (1, True)
        assert not (tmp_path / "x").exists()


MEASURE = """
import sys
from pathlib import Path
from polyalign.train.soup import make_soup
heavy = {"torch", "transformers", "trl", "datasets", "safetensors"} & set(sys.modules)
assert not heavy, heavy
# Not ru_maxrss, which a child takes over from the process that started it.
def peak():
    (line,) = (l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
    return int(line.split()[1]) * 1024
before = peak()
record = make_soup([(sys.argv[1], 0.4), (sys.argv[2], 0.6)], sys.argv[3])
print(peak() - before, record["seconds"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_memory_is_a_few_blocks_and_imports_are_light(tmp_path):
    """A model of 256 MB in one tensor and one shard: far below holding a single tensor."""
    for seed, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        tensors = {"weight": torch.full((8192, 8192), float(seed))}
        save_file(tensors, tmp_path / name / "model.safetensors")
    command = [sys.executable, "-c", MEASURE, "one", "two", "soup"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    used, seconds = map(float, done.stdout.split())
    print(f"peak beyond imports: {used / 2**20:.0f} MiB for two models of 256 MiB, {seconds} s")
    assert used < 100 * 2**20
    assert torch.all(load_file(tmp_path / "soup/model.safetensors")["weight"] == np.float32(0.6))
