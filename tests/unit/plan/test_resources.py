"""Estimates of memory and time, compared with models whose needs are known."""

from dataclasses import replace
from pathlib import Path

import pytest

from polyalign.families import BASE, POOL
from polyalign.plan import resources
from polyalign.plan.resources import (
    FULL,
    Load,
    Method,
    averaging,
    sampling,
    scoring,
    training,
)
from polyalign.study import Study, load
from polyalign.study.sections import Sandbox

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
    """Llama-2-7b: 14 GB of weights, and 2 x 32 x 4096 numbers of two bytes per token."""
    cache = 2 * 32 * 4096 * 2 * 32 * 256
    one = sampling(LLAMA, rows=1000, new_tokens=128)
    assert one.gpu == 1
    assert 14e3 + cache / 1e6 < one.vram_mb < 1.4 * (14e3 + cache / 1e6)


def test_training_holds_sixteen_bytes_per_parameter_and_the_reference() -> None:
    small = replace(LLAMA, batch=1, length=1)
    alone = training(small, rows=1000).vram_mb
    reference = replace(small, others=7e9, others_bytes=4 * 7e9)
    beside = training(reference, rows=1000).vram_mb
    assert alone == pytest.approx(1.1 * 16 * 7e3 + resources.GPU_MB, rel=0.01)
    assert beside - alone == pytest.approx(1.1 * 4 * 7e3, rel=0.01)


def held_mb(load: Load, method: Method, new_tokens: int = 0) -> float:
    """MB on the GPU, without the memory of CUDA and the reserve of a tenth."""
    return (training(load, 1000, new_tokens, method).vram_mb - resources.GPU_MB) / 1.1


def test_adapters_are_those_of_llama() -> None:
    """peft counts 39,976,960 parameters for rank 16 on every linear layer of Llama-2-7b."""
    assert 1 / 1.2 < Method(rank=16).trained(replace(LLAMA, parameters=6.74e9)) / 39_976_960 < 1.2


@pytest.mark.parametrize(
    ("dtype", "device", "four_bit", "frozen"),
    [
        ("bfloat16", "cuda", False, 14e9),
        ("float32", "cuda", False, 28e9),
        # The embeddings: 64,000 rows of 128 x (7e9 / (12 x 128²))^(1/3) numbers, in and out.
        ("bfloat16", "cuda", True, 4 * 539.08e6 + 0.5625 * (7e9 - 539.08e6)),
    ],
)
def test_only_adapters_have_gradients(
    dtype: str, device: str, four_bit: bool, frozen: float
) -> None:
    """18 r d L parameters at 16 bytes: 40.04 M for d = 4211.6 and L = 32.90."""
    load = replace(LLAMA, dtype=dtype, device=device, batch=1, length=1)
    adapters = 18 * 16 * 4211.6 * 32.90
    found = held_mb(load, Method(rank=16, four_bit=four_bit))
    assert found == pytest.approx((16 * adapters + frozen) / 1e6, rel=0.01)


def test_adapters_on_a_cpu_leave_the_weights_in_float32() -> None:
    load = replace(LLAMA, device="cpu")
    assert Method(rank=16).frozen_bytes(load) == 28e9
    assert Method().frozen_bytes(load) == 0


def test_checkpointing_keeps_the_activations_of_one_layer_and_the_input_of_each() -> None:
    """8192 tokens of width d = 4211.6 in L = 32.90 layers: 34 d and 4 d bytes."""
    saved = held_mb(LLAMA, FULL) - held_mb(LLAMA, Method(gradient_checkpointing=True))
    every, kept = 34 * 4211.6 * 32.90, 34 * 4211.6 + 4 * 4211.6 * 32.90
    assert saved == pytest.approx(8192 * (every - kept) / 1e6, rel=0.01)


def test_a_micro_batch_holds_a_part_of_the_activations() -> None:
    one, four = held_mb(LLAMA, FULL), held_mb(LLAMA, Method(accumulation=4))
    batch = 8192 * (34 * 4211.6 * 32.90 + 3 * 4 * 64_000)
    assert one - four == pytest.approx(0.75 * batch / 1e6, rel=0.01)


def test_a_cpu_takes_a_batch_in_parts_of_1_gb_and_a_longer_text_as_a_whole() -> None:
    """A text of 128 tokens takes 0.7 GB for its gradient, and one of 1024 eight times that."""
    small, large, long = (
        training(replace(LLAMA, device="cpu", batch=batch, length=length), 0).mem_mb
        for batch, length in ((8, 128), (64, 128), (8, 1024))
    )
    assert small == large
    text = 1024 * (34 * 4211.6 * 32.90 + 3 * 4 * 64_000)
    assert long - small == pytest.approx((text - 2**30) / 1e6, abs=1000)


def test_a_batch_is_sampled_whole_however_many_micro_batches_it_has() -> None:
    many = Method(accumulation=32)
    cache = 2 * 32.90 * 4211.6 * 2 * 8192
    grown = held_mb(LLAMA, many, new_tokens=128) - 16 * 7e3
    assert grown == pytest.approx((cache + 4 * 4 * 32 * 64_000) / 1e6, rel=0.02)
    assert held_mb(LLAMA, many, new_tokens=128) > held_mb(LLAMA, many)


def test_each_way_to_save_memory_saves_memory() -> None:
    ways = [
        FULL,
        Method(accumulation=2),
        Method(accumulation=2, gradient_checkpointing=True),
        Method(accumulation=2, gradient_checkpointing=True, rank=16),
        Method(accumulation=2, gradient_checkpointing=True, rank=16, four_bit=True),
    ]
    for new_tokens in (0, 128):
        held = [held_mb(LLAMA, way, new_tokens) for way in ways]
        assert held == sorted(set(held), reverse=True)


def test_recomputing_takes_a_third_more_arithmetic_and_frozen_weights_a_third_less() -> None:
    def work(method: Method) -> float:
        load = replace(LLAMA, batch=1)
        none, some = (training(load, rows, method=method).seconds for rows in (0, 100_000))
        return (some - none) * resources.OPS["bfloat16"] / (100_000 * 256 * 7e9)

    assert work(FULL) == pytest.approx(6)
    assert work(Method(gradient_checkpointing=True)) == pytest.approx(8)
    assert work(Method(rank=16)) == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("change", [{"parameters": 14e9}, {"batch": 64}, {"length": 512}])
def test_more_of_anything_takes_more_memory(change: dict[str, float]) -> None:
    larger = replace(LLAMA, **change)
    assert sampling(larger, 1000, 128).vram_mb > sampling(LLAMA, 1000, 128).vram_mb
    assert scoring(larger, 1000).vram_mb > scoring(LLAMA, 1000).vram_mb
    assert training(larger, 1000).vram_mb > training(LLAMA, 1000).vram_mb


def test_float32_takes_more_memory_than_bfloat16() -> None:
    assert scoring(replace(LLAMA, dtype="float32"), 1000).vram_mb > 27_000


def test_time_grows_with_the_rows() -> None:
    one, ten = scoring(LLAMA, 10_000), scoring(LLAMA, 100_000)
    work = 2 * 7e9 * 10_000 * 256 / resources.OPS["bfloat16"]
    assert ten.seconds - one.seconds == pytest.approx(9 * work)
    assert ten.minutes >= 3 * ten.seconds / 60
    assert ten.minutes % 10 == 0


def test_a_job_on_the_cpu_holds_no_gpu() -> None:
    on_cpu = training(replace(LLAMA, device="cpu"), rows=10)
    assert (on_cpu.gpu, on_cpu.vram_mb) == (0, 0)
    assert on_cpu.mem_mb > 16 * 7e3
    assert averaging(7e9, 2).gpu == 0


@pytest.fixture
def study(text: str, write) -> Study:  # type: ignore[no-untyped-def]
    return load(write(text.replace("results/small/models/base/base", "org/model-7b")))


def test_a_value_without_a_model_has_no_need(study: Study) -> None:
    assert resources.annotate(study, "diversity", POOL) is None
    scored = resources.annotate(study, "fluency", POOL)
    assert scored is not None
    assert scored.gpu == 1


def test_the_base_model_of_the_sandbox_holds_no_gpu(study: Study) -> None:
    """It trains on the CPU, even if the models of the study use a GPU."""
    need = resources.base_model(study)
    assert (need.gpu, need.vram_mb) == (0, 0)
    assert need.seconds > 0
    assert resources.generate(study, BASE).gpu == 1


def test_a_policy_is_estimated_as_it_is_trained(text: str, write) -> None:  # type: ignore[no-untyped-def]
    """With adapters there is no second model as the reference, and no 16 bytes per parameter."""
    large = text.replace("results/small/models/base/base", "org/model-7b")
    thrifty = large.replace("dtype: float32", "dtype: bfloat16", 1).replace(
        "learning_rate: 5.0e-4",
        "lora: {rank: 8}\n    accumulation: 8\n    gradient_checkpointing: true",
    )
    whole, adapted = (
        resources.train(found, found.all_policies["dpo/beta-0.1_mostly"])
        for found in (load(write(large)), load(write(thrifty)))
    )
    assert whole.vram_mb > 20 * 7e3
    assert 2 * 7e3 < adapted.vram_mb < 4 * 7e3
    assert adapted.mem_mb < whole.mem_mb


def test_a_classifier_is_as_large_as_what_it_starts_from(text: str, write) -> None:  # type: ignore[no-untyped-def]
    """100 M parameters in L = 7.98 layers of width d = 1021.8; no logits of a vocabulary."""
    small = "humor: {labels: data/humor.csv, source: org/encoder-100m, lora: {rank: 8}}"
    study = load(write(text.replace("humor: {labels: data/humor.csv}", small)))
    found = resources.reward_model(study, "humor")
    tokens = 16 * (128 + study.sampling.max_new_tokens)
    expected = 4 * 100e6 + (16 * 18 * 8 + 68 * tokens) * 1021.8 * 7.98
    assert found.vram_mb == pytest.approx(1.1 * expected / 1e6 + resources.GPU_MB, abs=110)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("meta-llama/Llama-2-7b-chat-hf", 7e9), ("x/smol-135m", 135e6), ("x/mine", 1e9)],
)
def test_parameters_from_a_name(source: str, expected: float, text: str, write) -> None:  # type: ignore[no-untyped-def]
    study = load(write(text.replace("results/small/models/base/base", source)))
    assert resources.parameters(study) == expected


@pytest.mark.parametrize(
    ("source", "batch"), [("org/tiny-135m", 256), ("org/model-1b", 128), ("org/model-7b", 32)]
)
def test_a_batch_is_as_large_as_its_keys_and_values_allow(
    source: str,
    batch: int,
    text: str,
    write,  # type: ignore[no-untyped-def]
) -> None:
    study = load(write(text.replace("results/small/models/base/base", source)))
    longer = study.sampling.model_copy(update={"batch_size": None, "max_new_tokens": 128})
    half = study.model.model_copy(update={"dtype": "bfloat16"})
    open_ = study.model_copy(update={"sampling": longer, "model": half})
    assert resources.responses_at_once(open_) == batch
    given = longer.model_copy(update={"batch_size": 7})
    assert resources.responses_at_once(open_.model_copy(update={"sampling": given})) == 7


def test_parameters_from_a_folder(tmp_path: Path, text: str, write) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"0" * 4000)
    study = load(write(text.replace("results/small/models/base/base", "./mine")))
    assert resources.parameters(study) == 1000


def test_a_model_that_the_study_trains_is_as_large_as_its_start(study: Study) -> None:
    made = f"results/{study.study}/models/reward/humor"
    assert resources.parameters_of(made, "float32", study) == Sandbox.PARAMETERS
    own = study.model_copy(update={"sandbox": None})
    assert resources.parameters_of(made, "float32", own) == 7e9
