"""The expected time of a job, against counts made by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from polyalign.families import POOL
from polyalign.plan import resources, stages, work
from polyalign.plan.counts import Counts, Texts, counts
from polyalign.plan.machine import DATA_CENTRE, REFERENCE, Machine
from polyalign.plan.work import CALL, CUDA, DRAW, OTHER, SANDBOX, TORCH, Work, parse_shape
from polyalign.study import Study, load

MACHINE = Machine(2, *REFERENCE, memory_mb=16_000)

GPT2 = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}
LLAMA = {
    "model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "vocab_size": 49152,
    "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3,
    "hidden_act": "silu",
}  # fmt: skip
BERT = {
    "model_type": "bert", "num_hidden_layers": 6, "hidden_size": 384, "vocab_size": 30522,
    "intermediate_size": 1536, "num_attention_heads": 12, "hidden_act": "gelu",
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "parameters", "keys", "encoder"),
    [
        (GPT2, 123.5e6, 2 * 12 * 768, False),
        (LLAMA, 134.5e6, 2 * 30 * 192, False),
        (BERT, 22.3e6, 2 * 6 * 384, True),
    ],
)
def test_the_shape_of_known_models(
    config: dict[str, str | int], parameters: float, keys: int, encoder: bool
) -> None:
    """GPT-2, SmolLM2-135M and MiniLM-L6."""
    shape = parse_shape(config)
    assert shape is not None
    assert shape.parameters == pytest.approx(parameters, rel=0.01)
    assert (shape.keys, shape.encoder) == (keys, encoder)


def test_a_config_of_an_unknown_kind_has_no_shape() -> None:
    assert parse_shape({"model_type": "other"}) is None


def test_the_shape_comes_from_the_folder_of_the_model(tmp_path: Path, text: str, write) -> None:
    (tmp_path / "mine").mkdir()
    study = load(write(text.replace("results/small/models/base/base", "./mine")))
    (tmp_path / "mine/config.json").write_text(json.dumps(LLAMA))
    assert work.shape_of(study, "./mine", "float32") == parse_shape(LLAMA)
    (tmp_path / "mine/config.json").write_text("{")
    guessed = work.shape_of(study, "./mine", "float32")
    assert guessed.parameters == pytest.approx(resources.PARAMETERS)
    own = "results/small/models/reward/humor"
    assert work.shape_of(study, own, "float32") == SANDBOX
    alone = study.model_copy(update={"sandbox": None})
    assert work.shape_of(alone, own, "float32") == guessed


def test_an_encoder_without_a_size_is_a_base_model(text: str, write) -> None:
    study = load(write(text))
    found = work.shape_of(study, "owner/distilbert-imdb", "float32")
    assert found.encoder
    assert found.parameters == pytest.approx(work.ENCODER_PARAMETERS)


def test_a_job_takes_its_arithmetic_traffic_draws_and_calls() -> None:
    job = Work(
        start=2.0, operations=1e11, moved=6e10, draws=1e8, calls=1000, disk=work.DISK, plain=4.0
    )
    expected = 3 + 4 + 1e11 / (TORCH * REFERENCE[0]) + 2 + 1e8 * DRAW + 1000 * CALL
    assert job.seconds(MACHINE) == pytest.approx(expected)


def test_a_gpu_computes_while_python_prepares() -> None:
    gpu = replace(MACHINE, gpus=(DATA_CENTRE,))
    job = Work(start=2.0, operations=6e14, dtype="bfloat16", device="auto", calls=1000)
    computing = 6e14 / resources.OPS["bfloat16"]
    assert job.seconds(gpu) == pytest.approx(2 + CUDA + computing)
    waiting = replace(job, calls=1e6)
    assert waiting.seconds(gpu) == pytest.approx(2 + CUDA + 1e6 * CALL)
    on_cpu = replace(job, device="cpu")
    assert on_cpu.gpu(gpu) is None
    assert on_cpu.seconds(gpu) == on_cpu.seconds(MACHINE)


@pytest.fixture
def study(text: str, write) -> Study:  # type: ignore[no-untyped-def]
    return load(write(text.replace("results/small/models/base/base", "org/model-7b")))


def of(study: Study, stage: str, found: Counts, **wildcards: str) -> Work:
    return work.of_job(study, stage, wildcards, found)


def test_twice_the_prompts_are_twice_the_work(study: Study) -> None:
    once = counts(study)
    twice = replace(once, prompts=replace(once.prompts, number=2 * once.prompts.number))
    pool = {"family": POOL.family, "variant": POOL.variant}
    for stage, more in (("generate", {}), ("annotate", {"value": "fluency"}), ("solve", {})):
        wildcards = {**pool, **more} if stage != "solve" else {"palette": "funny"}
        few, many = (of(study, stage, found, **wildcards) for found in (once, twice))
        assert many.operations == pytest.approx(2 * few.operations, rel=0.01)
        assert many.plain == pytest.approx(2 * few.plain)
        assert many.seconds(MACHINE) > few.seconds(MACHINE)


@pytest.mark.parametrize("adapt", ["true", "false"])
def test_the_values_that_are_scored_in_training(text: str, write, adapt: str) -> None:  # type: ignore[no-untyped-def]
    """funny raises humor, a model. Where λ moves, one that it keeps at its mean is scored too."""
    kept = text.replace("funny: {humor: q70", "funny: {humor: mean")
    raised, mean = (
        load(write(part.replace("  rloo:\n", f"  rloo:\n    adapt: {adapt}\n")))
        for part in (text, kept)
    )
    found = counts(raised)
    rloo = {"family": "rloo", "variant": "funny"}
    scored, fewer = (of(study, "train", found, **rloo).operations for study in (raised, mean))
    assert (scored == fewer) if adapt == "true" else (scored > fewer)


def test_values_that_share_a_model_cost_it_once(text: str, write) -> None:  # type: ignore[no-untyped-def]
    """In annotation and in training, and in the memory for its weights."""
    humor = "kind: sequence_classifier, model: org/model-7b, template: chat"
    two = f"  kind: {{{humor}, index: 0}}\n  dull: {{{humor}, index: 1}}\n"
    text = text.replace("  diversity: {kind", f"{two}  diversity: {{kind")
    text = text.replace("funny: {humor: q70", "funny: {kind: q70")
    one, both = (
        load(write(text.replace("results/small/models/base/base", "org/model-7b").replace(*edit)))
        for edit in (("", ""), ("funny: {kind: q70", "funny: {kind: q70, dull: q70"))
    )
    found, pool = counts(both), {"family": POOL.family, "variant": POOL.variant}
    first, second = (of(both, "annotate", found, **pool, value=name) for name in ("kind", "dull"))
    assert first.operations > 0
    assert second.operations == 0
    rloo = {"family": "rloo", "variant": "funny"}
    trained, alone = (of(study, "train", found, **rloo) for study in (both, one))
    assert trained.operations == alone.operations
    need, need_of_one = (stages.STAGES["train"].need(study, rloo) for study in (both, one))
    assert need == need_of_one


def test_a_longer_training_takes_longer(text: str, write) -> None:
    def dpo(epochs: int) -> Work:
        more = text.replace("learning_rate: 5.0e-4", f"learning_rate: 5.0e-4\n    epochs: {epochs}")
        study = load(write(more))
        texts = Texts(100, 50.0)
        found = Counts(texts, {"helpful": texts, "harmless": texts}, {}, 5.0, 20.0)
        return of(study, "train", found, family="dpo", variant="beta-0.1_mostly")

    first, second, third = (dpo(epochs).operations for epochs in (1, 2, 3))
    assert third - second == pytest.approx(second - first)
    assert third > 2.9 * first
    assert dpo(3).calls > dpo(1).calls


def test_a_soup_only_reads_and_writes_weights(study: Study) -> None:
    soup = of(study, "train", counts(study), family="soup", variant="half")
    assert soup == Work(disk=3 * 4 * work.shape_of(study, "org/model-7b", "float32").parameters)


def test_a_gguf_file_is_taken_apart(study: Study) -> None:
    """A tenth of a second per million weights: where it samples, and where it scores."""
    assert study.model is not None
    found, base = counts(study), {"family": "base", "variant": "base"}
    packed = study.model_copy(
        update={"model": study.model.model_copy(update={"source": "org/model-7b/a.gguf"})}
    )
    size = work.shape_of(packed, "org/model-7b/a.gguf", "float32").parameters
    for stage, more in (("generate", {}), ("annotate", {"value": "fluency"})):
        plain, unpacked = (of(one, stage, found, **base, **more).plain for one in (study, packed))
        assert unpacked - plain == pytest.approx(1e-7 * size)


def test_only_other_models_than_the_base_are_compared_with_it(study: Study) -> None:
    """Sampling says how likely a response is; another model and the base model read its own."""
    found = counts(study)
    base = of(study, "generate", found, family="base", variant="base")
    other = of(study, "generate", found, family="rloo", variant="funny")
    shape, dtype = work.shape_of(study, "org/model-7b", "float32"), "float32"
    rows = found.prompts.number * 0.4 * study.sampling.evaluation_candidates
    batches = -(-rows // resources.responses_at_once(study))
    length = found.prompts.tokens + found.template + found.response
    read = work.reading(shape, 2 * rows * length, batches, dtype, head=True)
    assert other.operations - base.operations == pytest.approx(read.operations)
    assert other.draws == base.draws == 0.25 * rows * found.response * shape.vocabulary


def test_guided_sampling_costs_more_than_sampling(text: str, write) -> None:
    guided = text.replace("  rloo:\n", "  token-d:\n    palettes: [funny]\n  rloo:\n")
    study = load(write(guided))
    found = counts(study)
    plain = of(study, "generate", found, family="base", variant="base")
    token = of(study, "generate_guided", found, family="token-d", variant="funny")
    assert token.operations > plain.operations


def test_a_small_model_with_few_prompts_takes_minutes_on_a_processor(
    tmp_path: Path, text: str, write
) -> None:
    """SmolLM2-135M, 199 prompts of 80 characters, 12 candidates of 40 tokens, on one core.

    Sampling is 2 · 134.5e6 operations per token, 40 tokens for each of 2,388 responses, and a
    surcharge of 300/576: 3.9e13, or 300 s at 1.3e11 operations per second. Prompts, draws from a
    vocabulary of 49,152 and log-probabilities are the rest.
    """
    (tmp_path / "smol").mkdir()
    (tmp_path / "smol/config.json").write_text(json.dumps(LLAMA))
    rows = "".join(f'{{"prompt": "{number:080d}"}}\n' for number in range(199))
    (tmp_path / "data/hh/test.jsonl").write_text(rows)
    small = text.replace("results/small/models/base/base", "./smol")
    small = small.replace("dtype: float32", "dtype: float32\n  device: cpu")
    small = small.replace(
        "candidates: 16\n  shards: 2", "candidates: 12\n  max_new_tokens: 40\n  shards: 1"
    )
    study = load(write(small))
    found = counts(study)
    assert found.prompts.number == 199
    pool = of(study, "generate", found, family="base", variant="pool")
    sampled = 2 * 134.5e6 * 40 * 2388 * (1 + 300 / 576)
    assert sampled < pool.operations < 3 * sampled
    assert 5 < pool.seconds(MACHINE) / 60 < 20
    need = resources.generate(study, POOL)
    assert need.gpu == 0


def test_other_arithmetic_weighs_the_same_up_to_a_width() -> None:
    """MiniLM (384) took as many times its products of matrices as the sandbox (128)."""
    widths = {width: replace(SANDBOX, width=width).surcharge for width in (128, 384, 900)}
    assert widths[128] == widths[384] == 1 + OTHER
    assert widths[900] == pytest.approx(1 + OTHER / 2)


def test_a_token_of_few_texts_takes_longer() -> None:
    """SmolLM2's layers on one core: 41 billion operations a second for 12 texts, 92 for 128."""

    def each(texts: int) -> float:
        return work.sampling(SANDBOX, texts, 0, 10, texts, "float32").operations / texts

    assert each(12) / each(128) == pytest.approx(92 / 41, rel=0.1)
    assert each(12) == work.sampling(SANDBOX, 120, 0, 10, 12, "float32").operations / 120
