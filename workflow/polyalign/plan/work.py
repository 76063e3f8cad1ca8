"""The expected time of one job on one machine: arithmetic, memory traffic, calls, and its start.

Unlike `polyalign.plan.resources`, which tells a scheduler what to allow a job at most, this says
what a job will probably take. The shape of a model comes from its `config.json` where there is one,
and otherwise from its number of parameters. Nothing here imports torch.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polyalign import families
from polyalign.data.packages import resolve
from polyalign.errors import InputError
from polyalign.families import BASE, POOL, Policy
from polyalign.families.value_d import ALL_ANSWERS
from polyalign.palettes.record import raised_values
from polyalign.plan import resources
from polyalign.plan.counts import Counts, template_tokens
from polyalign.plan.machine import Gpu, Machine
from polyalign.plan.resources import BYTES, Load, Method
from polyalign.plan.stages.shared import policy_named
from polyalign.rewards.judging import Judging
from polyalign.rewards.spec import ModelSpec
from polyalign.study import Study

TORCH = 1.25
"""Speed of torch's products of matrices as a multiple of NumPy's."""

OTHER, NARROW = 2.34, 450.0
"""What all other arithmetic of training and sampling takes, as a multiple of the products of
matrices, in models of up to that width; in wider ones it falls with the width. Measured with models
of widths 128 (the sandbox), 384 (MiniLM) and 576 (SmolLM2)."""

NARROW_READING = 200.0
"""Width of a model at which it takes as long where texts are read whole."""

FEW = 16.0
"""Texts at which a product of matrices for one token of each has half its speed."""

DRAW = 1.2e-8
"""Seconds of a CPU core per entry of the vocabulary for each sampled token: softmax, and a random
number for each entry, as transformers draws."""

CUMULATED = 0.25
"""The same, as a share, where one random number is looked up in sums of the probabilities."""

CALL = 3.0e-4
"""Seconds of Python for the forward pass of one layer, whatever it computes."""

LIGHT, MODEL, TRAINER = 0.2, 0.4, 1.5
"""Seconds until a job works: without a model, with one, and one that trains. Libraries are imported
once per workflow (`polyalign.runtime.job_server`)."""

CUDA = 6.0
"""Seconds more where a job uses a GPU."""

DISK = 5.0e8
"""Bytes per second when a model is read or written."""

GGUF = 1.0e-7
"""Seconds per weight of a GGUF file, which is taken apart when it is read."""

ENCODERS = ("albert", "bert", "deberta", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
"""Parts of the names of models that read texts in both directions, and have no keys to keep."""

ENCODER_PARAMETERS = 1.1e8
"""Parameters of an encoder whose name tells no size: those of a base model."""

STAGE_SECONDS = {"plot": 1.2, "report": 6.0, "prompts": 1.0, "families": 1.5}
"""Seconds of a job of some stages that load no model."""

POOL_SECONDS = {
    "solve": 2.0e-5,
    "diagnose": 1.0e-4,
    "explore": 1.0e-4,
    "merge": 1.0e-5,
    "import_rewards": 1.0e-5,
}
"""Seconds per response in the pool of stages that compute from it."""

DIALOGUE_SECONDS, ROW_SECONDS = 1.2e-4, 3.0e-5
"""Seconds to write a dialogue of the sandbox, and to score a response without a model."""

ASKED_SECONDS = 1.0
"""Seconds until a judge has answered, roughly; finished jobs correct it."""


@dataclass(frozen=True)
class Shape:
    """The shape of a transformer.

    Attributes:
        layers: number of layers.
        width: of the hidden states.
        inner: parameters of the layers.
        vocabulary: number of tokens.
        keys: numbers in the key-value cache for one token.
        encoder: whether it reads texts in both directions.
    """

    layers: float
    width: float
    inner: float
    vocabulary: float
    keys: float
    encoder: bool = False

    @property
    def head(self) -> float:
        """Parameters of the output layer of a language model."""
        return self.vocabulary * self.width

    @property
    def parameters(self) -> float:
        """All parameters, with one matrix of embeddings."""
        return self.inner + self.head

    @property
    def surcharge(self) -> float:
        """All arithmetic of training and sampling, as a multiple of the products of matrices."""
        return 1 + OTHER * min(1.0, NARROW / self.width)


SANDBOX = Shape(layers=2, width=128, inner=12 * 2 * 128**2, vocabulary=1500, keys=2 * 2 * 128)
"""The models of the sandbox: the defaults of polyalign.sandbox.language_model."""


@dataclass(frozen=True)
class Work:
    """What a job has to do.

    Attributes:
        start: seconds until it works.
        operations: floating-point operations, with a surcharge for narrow models.
        moved: bytes from and to memory.
        draws: entries of the vocabulary that sampled tokens are drawn from.
        calls: forward passes of single layers; a training step counts three times.
        disk: bytes of models read and written.
        plain: seconds of plain Python and NumPy.
        dtype: number format of the model.
        device: auto, cuda or cpu.
    """

    start: float = LIGHT
    operations: float = 0.0
    moved: float = 0.0
    draws: float = 0.0
    calls: float = 0.0
    disk: float = 0.0
    plain: float = 0.0
    dtype: str = "float32"
    device: str = "cpu"

    def __add__(self, other: "Work") -> "Work":
        """Both pieces of work in one job: that of the first, which also says where it runs."""
        return replace(
            self,
            operations=self.operations + other.operations,
            moved=self.moved + other.moved,
            draws=self.draws + other.draws,
            calls=self.calls + other.calls,
            disk=self.disk + other.disk,
            plain=self.plain + other.plain,
        )

    def gpu(self, machine: Machine) -> Gpu | None:
        """The GPU that the job uses there; None if it runs on the processor."""
        return machine.gpus[0] if machine.gpus and self.device != "cpu" else None

    def seconds(self, machine: Machine) -> float:
        """Expected wall-clock seconds of the job on a machine."""
        gpu = self.gpu(machine)
        python = (self.plain + CALL * self.calls) * machine.slowness
        start = self.start * machine.slowness + self.disk / DISK
        if gpu is not None:
            computing = self.operations / gpu.operations(self.dtype) + self.moved / gpu.bandwidth
            # A GPU works while Python prepares the next call.
            return start + CUDA + max(computing, CALL * self.calls * machine.slowness) + self.plain
        computing = self.operations / (TORCH * machine.operations) + self.moved / machine.bandwidth
        drawing = self.draws * DRAW * machine.slowness
        return start + python + computing + drawing


def shape_of(study: Study, source: str, dtype: str) -> Shape:
    """The shape of a model: of its `config.json`, or else from its number of parameters."""
    if source.startswith(f"results/{study.study}/models/"):
        if study.sandbox is not None or study.model is None or source == study.model.source:
            return SANDBOX
        return shape_of(study, study.model.source, dtype)
    config = config_of(source)
    if config is not None:
        found = parse_shape(config)
        if found is not None:
            return found
    total = resources.parameters_of(source, dtype, study)
    encoder = any(name in source.lower() for name in ENCODERS)
    if encoder and total == resources.PARAMETERS:
        total = ENCODER_PARAMETERS
    load = Load(total, dtype, "cpu", 1, 1)
    head = load.vocabulary * load.width
    keys = 2 * load.layers * load.width
    return Shape(load.layers, load.width, total - head, load.vocabulary, keys, encoder)


def config_of(source: str) -> Mapping[str, Any] | None:
    """The `config.json` of a model in a folder or in the cache of the hub; None without any."""
    try:
        folder = Path(resolve(source))
    except InputError:
        return None
    file: Path | None = folder / "config.json"
    if not folder.is_dir():
        # The hub's cache keeps one folder per commit; the one used last counts.
        from huggingface_hub.constants import HF_HUB_CACHE

        kept = Path(HF_HUB_CACHE) / f"models--{source.replace('/', '--')}" / "snapshots"
        files = sorted(kept.glob("*/config.json"), key=lambda path: path.stat().st_mtime)
        file = files[-1] if files else None
    try:
        config = json.loads(file.read_text(encoding="utf-8")) if file else None
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def parse_shape(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a `config.json` describes; None if its keys are those of no known family."""

    def first(*names: str) -> float | None:
        return next((float(config[name]) for name in names if config.get(name)), None)

    layers = first("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    width = first("hidden_size", "n_embd", "dim", "d_model")
    vocabulary = first("vocab_size")
    if layers is None or width is None or vocabulary is None:
        return None
    hidden = first("intermediate_size", "n_inner", "hidden_dim", "ffn_dim") or 4 * width
    heads = first("num_attention_heads", "n_head", "n_heads") or 1.0
    shared = (first("num_key_value_heads") or heads) / heads
    activation = str(config.get("hidden_act") or config.get("hidden_activation") or "")
    matrices = 3 if activation in ("silu", "swish") or "gemma" in str(config) else 2
    inner = layers * (width * width * (2 + 2 * shared) + matrices * width * hidden)
    encoder = str(config.get("model_type", "")).startswith(ENCODERS)
    return Shape(layers, width, inner, vocabulary, 2 * layers * width * shared, encoder)


def reading(shape: Shape, tokens: float, batches: float, dtype: str, *, head: bool) -> Work:
    """One forward pass over `tokens` tokens in all; with `head`, log-probabilities of each."""
    weights = shape.inner + (shape.head if head else 0.0)
    logits = 12 * tokens * shape.vocabulary if head else 0.0
    return Work(
        operations=2 * weights * tokens * (1 + NARROW_READING / shape.width),
        moved=batches * weights * BYTES[dtype] + logits,
        calls=batches * shape.layers,
    )


def sampling(
    shape: Shape, rows: float, prompt: float, new: int, batch: int, dtype: str, share: float = 1.0
) -> Work:
    """Sample `rows` responses of up to `new` tokens to prompts of `prompt` tokens.

    A batch ends with its longest response, which is nearly always as long as the limit. Each step
    reads all weights and the keys and values of all texts, and copies the latter.

    Args:
        shape: of the model.
        rows: responses.
        prompt: tokens of a prompt.
        new: most tokens of a response.
        batch: responses at once.
        dtype: number format.
        share: tokens of a response that are computed, of `new`: less than 1 where texts that have
            ended leave the batch.
    """
    batches = math.ceil(rows / batch)
    kept = shape.keys * BYTES[dtype] * (prompt + new / 2)
    steps, tokens = batches * new, rows * new * share
    return reading(shape, rows * prompt, batches, dtype, head=False) + Work(
        operations=2 * shape.parameters * tokens * shape.surcharge * (1 + FEW / min(rows, batch)),
        moved=steps * shape.parameters * BYTES[dtype] + 3 * tokens * kept,
        draws=tokens * shape.vocabulary,
        calls=steps * (shape.layers + 4),
    )


def learning(
    shape: Shape, tokens: float, steps: float, dtype: str, method: Method, *, head: bool
) -> Work:
    """Train on `tokens` tokens in all: forward pass, gradients, and AdamW in `steps` steps."""
    weights = shape.inner + (shape.head if head else 0.0)
    passes = 6 if method.gradient_checkpointing else 4
    if not method.rank:
        passes += 2
    trained = method.trained(Load(shape.parameters, dtype, "cpu", 1, 1))
    return Work(
        operations=passes * weights * tokens * shape.surcharge,
        moved=steps * 28 * trained + (36 * tokens * shape.vocabulary if head else 0.0),
        calls=3 * steps * method.accumulation * shape.layers,
    )


def of_job(study: Study, stage: str, wildcards: Mapping[str, str], counts: Counts) -> Work:
    """The work of one job.

    Args:
        study: the study.
        stage: the job's stage (`polyalign.plan.stages.STAGES`), or a rule without one.
        wildcards: those of the job, with `family` where the rule belongs to a family.
        counts: what the study reads.
    """
    if stage == "base_model":
        return _base_model(study)
    if stage == "reward_model":
        return _reward_model(study, wildcards["variant"], counts)
    if stage == "value_model":
        return _value_model(study, counts)
    if stage in ("generate", "generate_guided", "steer", "annotate", "train"):
        policy = policy_named(study, wildcards)
        if stage == "steer":
            return _steer(study, policy, counts)
        if stage == "train":
            return _train(study, policy, counts)
        if stage == "annotate":
            return _annotate(study, policy, wildcards["value"], counts)
        return _generate(study, policy, counts)
    if stage == "judge" and (judge := study.evaluation.judge):
        return Work(plain=2 * pairs_of(study, counts) * ASKED_SECONDS / judge.parallel)
    if stage == "world":
        return Work(plain=DIALOGUE_SECONDS * (study.sandbox.dialogues if study.sandbox else 0))
    pool = counts.prompts.number * study.sampling.candidates
    plain = STAGE_SECONDS.get(stage, 0.0) + POOL_SECONDS.get(stage, 0.0) * pool
    return Work(plain=plain)


def _base(study: Study) -> tuple[Shape, str, str]:
    """Shape, number format and device of the base model."""
    model = study.model
    if model is None:
        raise ValueError("a study from scores alone loads no model")
    return shape_of(study, model.source, model.dtype), model.dtype, model.device


def _prompt(counts: Counts) -> float:
    return counts.prompts.tokens + counts.template


def texts_of(study: Study, policy: Policy, counts: Counts) -> tuple[float, float]:
    """Responses in one scatter item of a policy, and the prompts that they answer."""
    prompts = counts.prompts.number
    if policy.name == POOL.name:
        rows = prompts * study.sampling.candidates / study.sampling.shards
        return rows, min(prompts, rows)
    tested = prompts * study.prompts.test_share
    return tested * study.sampling.evaluation_candidates, tested


def _base_model(study: Study) -> Work:
    steps = study.sandbox.steps if study.sandbox else 0
    # 32 dialogues per step; its models are trained on the processor, whatever the study's device.
    # The output layer computes their responses alone.
    tokens = steps * 32 * 50
    shape = replace(SANDBOX, vocabulary=0.6 * SANDBOX.vocabulary)
    work = learning(shape, tokens, steps, "float32", resources.FULL, head=True)
    return Work(start=MODEL) + work


def _reward_model(study: Study, name: str, counts: Counts) -> Work:
    made = study.reward_models[name]
    source = made.source or (study.model.source if study.model else "")
    shape = shape_of(study, source, made.dtype)
    texts = counts.pairs[made.preferences] if made.preferences else counts.labels[name]
    each = 2 if made.preferences else 1
    tokens = texts.tokens + (counts.template if made.preferences else 0.0)
    steps = made.epochs * math.ceil(texts.number / made.batch_size)
    work = learning(
        shape,
        made.epochs * each * texts.number * tokens,
        steps,
        made.dtype,
        Method.of(made.model_dump()),
        head=False,
    )
    device = study.model.device if study.model else "auto"
    return Work(
        start=TRAINER, disk=_bytes(shape, "float32"), dtype=made.dtype, device=device
    ) + work  # fmt: skip


def _value_model(study: Study, counts: Counts) -> Work:
    """The base model reads every candidate once; then they are learnt from, with all candidates."""
    section = study.value_training
    if section is None:
        raise ValueError("no family of the study samples with a value model")
    shape, dtype, device = _base(study)
    prompts = counts.prompts.number * (1 - study.prompts.test_share)
    rows = prompts * study.sampling.candidates
    length, steps = _prompt(counts) + counts.response, prompts / section.batch_size
    method = Method(rank=section.rank * len(study.learnt_values))
    begin = Work(start=TRAINER, disk=_bytes(shape, dtype), dtype=dtype, device=device)
    passes = section.epochs
    learnt = learning(
        shape, passes * rows * length, math.ceil(passes * steps), dtype, method, head=True
    )
    return begin + reading(shape, rows * length, steps, dtype, head=True) + learnt


def _bytes(shape: Shape, dtype: str) -> float:
    return shape.parameters * BYTES[dtype]


def _unpacked(source: str, shape: Shape) -> Work:
    """Reading the weights of a GGUF file; nothing for other files."""
    return Work(plain=GGUF * shape.parameters if source.endswith(".gguf") else 0.0)


def _drawing(study: Study, counts: Counts, shape: Shape, rows: float, batch: int) -> Work:
    """Draw responses as `polyalign.sampling.drawing` does: ended texts leave the batch."""
    new, dtype = study.sampling.max_new_tokens, study.model.dtype if study.model else "float32"
    drawn = sampling(shape, rows, _prompt(counts), new, batch, dtype, counts.response / new)
    return replace(drawn, draws=CUMULATED * drawn.draws)


def _generate(study: Study, policy: Policy, counts: Counts) -> Work:
    """Sampling, and what the models say of the responses.

    The policy's model and the base model read them, for the KL. Of a guided policy the base model
    draws, but from another distribution, and reads them.
    """
    shape, dtype, device = _base(study)
    rows, _ = texts_of(study, policy, counts)
    batch = resources.responses_at_once(study)
    prompt, new = _prompt(counts), study.sampling.max_new_tokens
    trained = policy.family != BASE.family and families.family(policy.family).kind == "train"
    models = 2 if trained else 1
    work = Work(start=MODEL, disk=models * _bytes(shape, dtype), dtype=dtype, device=device)
    work += _unpacked(study.model.source if study.model else "", shape)
    if beams := policy.settings.get("beams"):
        # Beams search once for each prompt, and its answers are the same.
        searched = rows * beams / study.sampling.evaluation_candidates
        work += sampling(shape, searched, prompt, new, batch, dtype)
    else:
        work += _drawing(study, counts, shape, rows, batch)
    if policy.family != BASE.family:
        own = trained or families.family(policy.family).learns
        tokens = (2 if own else 1) * rows * (prompt + counts.response)
        work += reading(shape, tokens, math.ceil(rows / batch), dtype, head=True)
    if policy.family == BASE.family or trained or families.family(policy.family).learns:
        return work
    guided, every = guided_texts(study, policy, rows), policy.settings.get("interval", 1)
    for name in _scored(study, policy):
        spec = study.scorer(name)
        if not isinstance(study.values[name], ModelSpec):
            work += Work(plain=ROW_SECONDS * guided)
            continue
        scorer = shape_of(study, spec["model"], spec["dtype"])
        # A decoder keeps the keys of the text so far; an encoder reads it again.
        tokens = guided * (prompt + counts.response / 2 if scorer.encoder else 1)
        steps = math.ceil(rows / batch) * math.ceil(new / every)
        work += reading(scorer, tokens, steps, spec["dtype"], head=False)
    return work


def _steer(study: Study, policy: Policy, counts: Counts) -> Work:
    """Draw answers, and score them, round by round."""
    shape, dtype, device = _base(study)
    rows = ALL_ANSWERS
    work = Work(start=MODEL, disk=_bytes(shape, dtype), dtype=dtype, device=device)
    work += _drawing(study, counts, shape, rows, resources.responses_at_once(study))
    for name in dict.fromkeys(study.read_with[name] for name in study.weighed(policy)):
        work += _scoring(study, name, rows, rows, counts, shared=False)
    return work


def pairs_of(study: Study, counts: Counts) -> float:
    """Pairs of answers of one policy and its opponent that a judge compares."""
    judge = study.evaluation.judge
    tested = counts.prompts.number * study.prompts.test_share
    return min(float(judge.prompts), tested) if judge else 0.0


def guided_texts(study: Study, policy: Policy, rows: float) -> float:
    """Beginnings of responses that are scored where λ guides the sampling of `rows` responses."""
    every, among = policy.settings.get("interval", 1), policy.settings.get("top_k", 10)
    steps: int = math.ceil(study.sampling.max_new_tokens / every)
    return rows * steps * among


def drawn_texts(policy: Policy) -> float:
    """Responses that are drawn and scored in reinforcement learning."""
    settings = policy.settings
    steps, batch = float(settings["steps"]), settings.get("batch_size", 16)
    return steps * batch / settings.get("passes", 1)


def _scored(study: Study, policy: Policy) -> list[str]:
    """The values that are probably computed for a policy's λ, one for each model.

    Values that a palette keeps at their mean mostly have a weight of 0. Where λ moves, the levels
    of all are looked at.
    """
    if policy.palette and policy.settings.get("adapt"):
        return list({study.read_with[name]: name for name in study.weighed(policy)}.values())
    raised = raised_values(study.palettes[policy.palette]) if policy.palette else policy.values
    return list({study.read_with[name]: name for name in raised}.values())


def _scoring(
    study: Study, value: str, rows: float, prompts: float, counts: Counts, *, shared: bool
) -> Work:
    """Score `rows` responses to `prompts` prompts with one value.

    With `shared`, a decoder reads the prompt of several responses once.
    """
    found = study.values[value]
    if isinstance(found, Judging):
        return Work(plain=ASKED_SECONDS * rows / found.parallel)
    if not isinstance(found, ModelSpec):
        return Work(plain=ROW_SECONDS * rows)
    spec = study.scorer(value)
    shape = shape_of(study, spec["model"], spec["dtype"])
    template = spec.get("template") or ""
    prompt = counts.prompts.tokens + template_tokens(template.replace("{response}", ""))
    response, judged = counts.response, spec["kind"] == "log_likelihood"
    if spec["kind"] == "embedding_similarity":
        tokens = rows * (response + 2) + prompts * (counts.prompts.tokens + 2)
    elif "{prompt}" not in template and not judged:
        tokens = rows * response
    elif shape.encoder or not shared:
        tokens = rows * (prompt + response)
    else:
        tokens = rows * response + prompts * prompt
    longest = spec["max_length"]
    tokens = min(tokens, rows * longest)
    return reading(shape, tokens, rows / spec["batch_size"], spec["dtype"], head=judged)


def _annotate(study: Study, policy: Policy, value: str, counts: Counts) -> Work:
    rows, prompts = texts_of(study, policy, counts)
    if study.read_with[value] != value:
        # What another value has read is kept.
        return Work(plain=ROW_SECONDS * rows)
    work = _scoring(study, value, rows, prompts, counts, shared=True)
    if not isinstance(study.values[value], ModelSpec):
        return work
    spec = study.scorer(value)
    shape = shape_of(study, spec["model"], spec["dtype"])
    size = _bytes(shape, spec["dtype"])
    begin = Work(start=MODEL, disk=size, dtype=spec["dtype"], device=spec["device"])
    return begin + _unpacked(spec["model"], shape) + work


def _train(study: Study, policy: Policy, counts: Counts) -> Work:
    shape, dtype, device = _base(study)
    size = _bytes(shape, "float32")
    if policy.parts:
        return Work(disk=(len(policy.parts) + 1) * size)
    settings = policy.settings
    method = Method.of(settings)
    begin = Work(start=TRAINER, disk=3 * size, dtype=dtype, device=device)
    prompt, batch = _prompt(counts), settings.get("batch_size", 16)
    if policy.is_rewarded:
        return begin + _reinforcement(study, policy, counts, shape, batch, method)
    length, number = prompt + counts.response, counts.prompts.number
    if policy.preferences:
        sets = [counts.pairs[name] for name in policy.preferences]
        number = sum(texts.number for texts in sets)
        length = counts.template + sum(texts.tokens for texts in sets) / len(sets)
    trained = resources.texts_trained_on(study, policy, number, counts.prompts.number)
    # The reference model reads every text once, and both models read the test pairs; held-out
    # candidates judge a few times.
    once = trained if policy.reads == "pairs" else trained / settings.get("epochs", 1)
    read = once + 4 * (settings.get("test_pairs") or 0)
    rows = batch * resources.texts_per_row(study, policy)
    steps = math.ceil(trained / rows)
    judged = reading(shape, read * length, read / rows, dtype, head=True)
    return begin + learning(shape, trained * length, steps, dtype, method, head=True) + judged


def _reinforcement(
    study: Study, policy: Policy, counts: Counts, shape: Shape, batch: int, method: Method
) -> Work:
    """Sample, score and learn; PPO uses each response in several passes."""
    dtype = study.model.dtype if study.model else "float32"
    steps, prompt = policy.settings["steps"], _prompt(counts)
    rows = drawn_texts(policy)
    tokens = prompt + counts.response
    work = _drawing(study, counts, shape, rows, batch)
    # Log-probabilities under the model as it was, and under the base model.
    work += reading(shape, 2 * rows * tokens, 2 * rows / batch, dtype, head=True)
    for name in _scored(study, policy):
        work += _scoring(study, name, rows, rows, counts, shared=False)
    return work + learning(shape, steps * batch * tokens, steps, dtype, method, head=True)
