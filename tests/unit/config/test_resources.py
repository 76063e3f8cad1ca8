"""Estimates of memory and time, against models whose needs are known."""

from dataclasses import replace
from pathlib import Path

import pytest

from polyalign import resources
from polyalign.config import load
from polyalign.resources import Load, averaging, largest_need, need, sampling, scoring, training

LLAMA = Load(7e9, "bfloat16", "cuda", batch=32, length=256)


@pytest.mark.parametrize(
    ("parameters", "layers", "width"),
    [(1.24e8, 12, 768), (7.7e8, 36, 1280), (6.7e9, 32, 4096), (6.9e10, 80, 8192)],
)
def test_the_shape_of_known_models(parameters: float, layers: int, width: int) -> None:
    """GPT-2, GPT-2 large, Llama-2-7b, Llama-2-70b: within a factor of 1.5 of layers x width."""
    load = replace(LLAMA, parameters=parameters)
    assert 1 / 1.5 < load.layers * load.width / (layers * width) < 1.5


def test_sampling_holds_weights_and_cache() -> None:
    """Llama-2-7b: 14 GB of weights, and 2 x 32 x 4096 numbers of two bytes a token."""
    cache = 2 * 32 * 4096 * 2 * 32 * 256
    one = sampling(LLAMA, rows=1000, new_tokens=128)
    assert one.gpu == 1
    assert 14e3 + cache / 1e6 < one.vram_mb < 1.4 * (14e3 + cache / 1e6)


def test_training_holds_sixteen_bytes_a_parameter_and_the_reference() -> None:
    small = replace(LLAMA, batch=1, length=1)
    alone = training(small, rows=1000).vram_mb
    beside = training(replace(small, others=7e9), rows=1000).vram_mb
    assert alone == pytest.approx(1.1 * 16 * 7e3 + resources.GPU_MB, rel=0.01)
    assert beside - alone == pytest.approx(1.1 * 4 * 7e3, rel=0.01)


@pytest.mark.parametrize("change", [{"parameters": 14e9}, {"batch": 64}, {"length": 512}])
def test_more_of_anything_takes_more_memory(change: dict[str, float]) -> None:
    larger = replace(LLAMA, **change)
    assert sampling(larger, 1000, 128).vram_mb > sampling(LLAMA, 1000, 128).vram_mb
    assert scoring(larger, 1000).vram_mb > scoring(LLAMA, 1000).vram_mb
    assert training(larger, 1000).vram_mb > training(LLAMA, 1000).vram_mb


def test_four_bytes_a_number_take_more_than_two() -> None:
    assert scoring(replace(LLAMA, dtype="float32"), 1000).vram_mb > 27_000


def test_time_grows_with_the_rows() -> None:
    one, ten = scoring(LLAMA, 10_000), scoring(LLAMA, 100_000)
    work = 2 * 7e9 * 10_000 * 256 / resources.OPS["bfloat16"]
    assert ten.seconds - one.seconds == pytest.approx(9 * work)
    assert ten.minutes >= 3 * ten.seconds / 60
    assert ten.minutes % 10 == 0


def test_a_processor_holds_no_gpu() -> None:
    on_cpu = training(replace(LLAMA, device="cpu"), rows=10)
    assert (on_cpu.gpu, on_cpu.vram_mb) == (0, 0)
    assert on_cpu.mem_mb > 16 * 7e3
    assert averaging(7e9, 2).gpu == 0


@pytest.fixture
def study(text: str, write):  # type: ignore[no-untyped-def]
    return load(write(text.replace("results/small/models/base/base", "org/model-7b")))


def test_values_without_a_model_need_none(study) -> None:  # type: ignore[no-untyped-def]
    policy = {"family": "base", "variant": "pool"}
    assert need(study, "annotate", policy | {"value": "diversity"}) is None
    scored = need(study, "annotate", policy | {"value": "fluency"})
    assert scored is not None
    assert scored.gpu == 1
    assert need(study, "merge", policy) is None


def test_a_soup_holds_no_gpu_and_training_does(study) -> None:  # type: ignore[no-untyped-def]
    soup, rloo = largest_need(study, "train_soup"), largest_need(study, "train_rloo")
    assert soup is not None
    assert rloo is not None
    assert (soup.gpu, rloo.gpu) == (0, 1)
    assert rloo.vram_mb > 16 * 7e3


def test_the_largest_need_covers_each_job(study) -> None:  # type: ignore[no-untyped-def]
    largest = largest_need(study, "generate")
    assert largest is not None
    for variant in ("pool", "base"):
        one = need(study, "generate", {"family": "base", "variant": variant})
        assert one is not None
        assert one.vram_mb <= largest.vram_mb
        assert one.seconds <= largest.seconds
    assert largest_need(study, "merge") is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [("meta-llama/Llama-2-7b-chat-hf", 7e9), ("x/smol-135m", 135e6), ("x/mine", 1e9)],
)
def test_parameters_from_a_name(source: str, expected: float, text: str, write) -> None:  # type: ignore[no-untyped-def]
    study = load(write(text.replace("results/small/models/base/base", source)))
    assert resources.parameters(study) == expected


def test_parameters_from_a_folder(tmp_path: Path, text: str, write) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"0" * 4000)
    study = load(write(text.replace("results/small/models/base/base", "./mine")))
    assert resources.parameters(study) == 1000


def test_a_model_that_the_study_makes_is_as_large_as_its_base(study) -> None:  # type: ignore[no-untyped-def]
    made = f"results/{study.study}/models/reward/humor"
    assert resources.parameters_of(made, "float32", study) == resources.SANDBOX_PARAMETERS
    own = study.model_copy(update={"sandbox": None})
    assert resources.parameters_of(made, "float32", own) == 7e9
