"""What a job that loads a model needs: GPUs and their memory, memory of the host, minutes.

The estimates use the number of parameters, the number format, the batch size and the length of
texts. They are what a scheduler is asked for, so they are rather too large than too small;
`polyalign check` shows them beside what earlier jobs used. Nothing here imports torch.

The shape of a transformer with P parameters is taken from P ≈ 12 L d² (L layers of width d, each
with 4 d² parameters in attention and 8 d² in its feed-forward part) and d = 128 L, which holds
within a factor of 1.5 from GPT-2 to Llama-2-70b.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polyalign import families
from polyalign.data.packages import resolve
from polyalign.errors import InputError
from polyalign.families import BASE, POOL, Policy
from polyalign.families.options import HELD_ON_CPU
from polyalign.families.value_d import ALL_ANSWERS
from polyalign.rewards.spec import ModelSpec
from polyalign.study import Study
from polyalign.study.sections import Sandbox

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

PARAMETERS = 1e9
"""Parameters of a model whose size is not known from its folder or its name."""

PROMPTS = 2000
"""Prompts of a study without a limit."""

PAIRS = 50_000
"""Preference pairs of a data set whose size is not known before it is read."""

PROMPT_TOKENS = 128
"""Tokens of a prompt with its template."""

VOCABULARY = 64_000
"""Vocabulary of a large model: between the usual 32,000 and 128,000."""

OPS = {"float32": 1.0e13, "bfloat16": 6.0e13, "float16": 6.0e13}
"""Operations per second that a data-centre GPU sustains in each format."""

OPS_CPU = 2.0e10
"""The same for one core of a CPU."""

BANDWIDTH = 1.0e12
"""Bytes per second from the memory of a GPU: sampling reads all weights for each token."""

CACHE = 8.0e9
"""Bytes that the key-value cache of a batch may take where the config sets no batch size."""

LARGEST_BATCH = 256
"""Largest such batch: more responses are hardly faster."""

DISK = 2.0e8
"""Bytes per second from a network disk: loading a model."""

MARGIN = 3.0
"""Requested time divided by expected time."""

START_MINUTES = 30
"""Minimum of the requested time: imports, a busy disk, a slow node."""

START = 30.0
"""Seconds before a job with a model starts to work: imports, CUDA."""

HOST_MB = 4000
"""Memory of a process that has imported the libraries."""

GPU_MB = 1500
"""Memory that CUDA and its libraries take on a GPU."""

TRAINED = 16
"""Bytes per trained parameter: weight, gradient and the two moments of Adam, all in float32."""

FOUR_BIT = 0.5 + 4 / 64
"""Bytes per weight in 4 bits (NF4): half a byte, and one float32 scale for 64 weights."""


@dataclass(frozen=True)
class Need:
    """What one job needs.

    Attributes:
        gpu: number of GPUs to request.
        vram_mb: memory on the GPU, in MB; 0 without one.
        mem_mb: memory of the host, in MB.
        seconds: expected wall-clock time.
    """

    gpu: int
    vram_mb: int
    mem_mb: int
    seconds: float

    @property
    def minutes(self) -> int:
        """Wall-clock time to request from a scheduler."""
        return _round(START_MINUTES + MARGIN * self.seconds / 60, 10)


LIGHT_JOB = Need(gpu=0, vram_mb=0, mem_mb=4000, seconds=0.0)
"""What a job without a model needs."""


@dataclass(frozen=True)
class Load:
    """A model that processes texts.

    Attributes:
        parameters: number of parameters of the model.
        dtype: number format that it computes in.
        device: auto or cuda (a GPU), or cpu.
        batch: texts at once.
        length: tokens per text, prompt included.
        others: parameters of frozen models that read the same texts.
        others_bytes: bytes of the weights of these; 0 if they share the weights of the model.
    """

    parameters: float
    dtype: str
    device: str
    batch: int
    length: int
    others: float = 0.0
    others_bytes: float = 0.0

    @property
    def layers(self) -> float:
        """L, from P = 12 · 128² · L³."""
        return max(1.0, (self.parameters / (12 * 128**2)) ** (1 / 3))

    @property
    def width(self) -> float:
        """d = 128 L."""
        return 128 * self.layers

    @property
    def weights(self) -> float:
        """Bytes of all weights in the number format that the model computes in."""
        return self.parameters * BYTES[self.dtype] + self.others_bytes

    @property
    def vocabulary(self) -> float:
        """Size of the vocabulary, limited for small models."""
        return min(VOCABULARY, self.parameters / self.width)

    @property
    def logits(self) -> float:
        """Bytes of one float32 row of logits per text."""
        return 4 * self.batch * self.vocabulary

    @property
    def cache(self) -> float:
        """Bytes of the key-value cache of all texts: 2 L d numbers per token."""
        return 2 * self.layers * self.width * self.batch * self.length * BYTES[self.dtype]


@dataclass(frozen=True)
class Method:
    """How a model is trained; the fields are options of `polyalign.families.options`.

    Attributes:
        accumulation: micro-batches per batch.
        gradient_checkpointing: whether activations are recomputed.
        rank: rank of the adapters; 0 if all weights are trained.
        four_bit: whether frozen weights are in 4 bits.
    """

    accumulation: int = 1
    gradient_checkpointing: bool = False
    rank: int = 0
    four_bit: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Method":
        """The method that a trainer's options describe; a family may lack some of the options."""
        lora = options.get("lora") or {"rank": 0, "four_bit": False}
        return cls(
            options.get("accumulation", 1),
            options.get("gradient_checkpointing", False),
            lora["rank"],
            lora["four_bit"],
        )

    def trained(self, load: Load) -> float:
        """Number of trained parameters.

        Adapters are on every linear layer: r (m + n) for a layer of m x n, so 8 r d in attention
        and 10 r d in the feed-forward part.
        """
        return 18 * self.rank * load.width * load.layers if self.rank else load.parameters

    def frozen_bytes(self, load: Load) -> float:
        """Bytes of the frozen weights, in the format that polyalign.train.common loads them in.

        4-bit quantisation leaves the input and output embeddings as they are.
        """
        if not self.rank:
            return 0.0
        if not self.four_bit:
            return load.parameters * (BYTES[load.dtype] if load.device != "cpu" else 4)
        embeddings = min(load.parameters, 2 * load.vocabulary * load.width)
        return 4 * embeddings + FOUR_BIT * (load.parameters - embeddings)


FULL = Method()
"""All weights are trained, with the whole batch at once."""


def sampling(load: Load, rows: int, new_tokens: int) -> Need:
    """Need of a job that samples `rows` responses of `new_tokens` tokens.

    On the GPU: the weights, the key-value cache, and the logits of one step four times (raw,
    filtered, probabilities, noise).
    """
    operations = 2 * (load.parameters + load.others) * rows * load.length
    steps = math.ceil(rows / load.batch) * new_tokens
    reading = 0.0 if load.device == "cpu" else steps * load.weights / BANDWIDTH
    return _need(load, load.weights + load.cache + 4 * load.logits, operations, reading)


def scoring(load: Load, rows: int) -> Need:
    """Need of a job that reads `rows` texts with one model.

    On the GPU: the weights, the activations of one layer (12 d numbers per token), the key-value
    cache, since texts share the cache of their common prefix, and the logits of a language model
    for a whole batch, twice.
    """
    activations = 12 * load.width * load.batch * load.length * BYTES[load.dtype]
    operations = 2 * load.parameters * rows * load.length
    held = load.weights + load.cache + activations + 2 * load.logits * load.length
    return _need(load, held, operations)


def training(
    load: Load, rows: int, new_tokens: int = 0, method: Method = FULL, *, logits: bool = True
) -> Need:
    """Need of a job that trains on `rows` texts, and samples `new_tokens` tokens of each first.

    On the GPU: 16 bytes per trained parameter, the frozen weights, those of other models; and the
    larger of two phases. The first takes the gradient of a micro-batch: activations (34 d bytes per
    token and layer in two-byte numbers, twice that in float32: Korthikanti et al. 2022, arXiv
    2205.05198, without the attention matrix) and, except for classifiers, the logits three times.
    With gradient checkpointing there are the activations of one layer, and the inputs of every
    layer (d numbers in float32). The second phase samples a whole batch. On a CPU the trainers
    choose micro-batches that take `HELD_ON_CPU` bytes at most, if one text does.

    Operations per token: 2 per parameter for the forward pass, 2 per parameter for the gradient of
    the activations, 2 per trained parameter for its gradient, and 2 per parameter for a second
    forward pass where activations are recomputed.
    """
    tokens = load.batch * load.length / method.accumulation
    layer = 17 * BYTES[load.dtype] * load.width * tokens
    boundaries = 4 * load.width * load.layers * tokens
    every = layer * load.layers
    activations = min(every, layer + boundaries) if method.gradient_checkpointing else every
    judged = 3 * load.logits * load.length / method.accumulation if logits else 0.0
    part = activations + judged
    if load.device == "cpu":
        part = min(part, max(HELD_ON_CPU, part / load.batch))
    sampled = load.cache + 4 * load.logits if new_tokens else 0.0
    trained = method.trained(load)
    held = TRAINED * trained + method.frozen_bytes(load) + load.others_bytes
    passes = 6 if method.gradient_checkpointing else 4
    each = passes * load.parameters + 2 * trained + 2 * load.others
    operations = each * rows * load.length
    steps = math.ceil(rows / load.batch) * new_tokens
    reading = 0.0 if load.device == "cpu" else steps * load.weights / BANDWIDTH
    return _need(load, held + max(part, sampled), operations, reading)


def averaging(parameters: float, models: int) -> Need:
    """Need of a job that averages the weights of models on the CPU."""
    size = 4 * parameters
    return Need(0, 0, _round(HOST_MB + 3 * size / 1e6, 1000), START + (models + 1) * size / DISK)


def _need(load: Load, gpu_bytes: float, operations: float, reading: float = 0.0) -> Need:
    on_gpu = load.device != "cpu"
    seconds = (
        START
        + operations / (OPS[load.dtype] if on_gpu else OPS_CPU)
        + reading
        + load.weights / DISK
    )
    host = HOST_MB + 1.5 * (4 * load.parameters + load.others_bytes) / 1e6
    if not on_gpu:
        host += gpu_bytes / 1e6
    vram = _round(GPU_MB + 1.1 * gpu_bytes / 1e6, 100) if on_gpu else 0
    return Need(int(on_gpu), vram, _round(host, 1000), seconds)


def _round(number: float, unit: int) -> int:
    return math.ceil(number / unit) * unit


def largest(needs: Iterable[Need | None]) -> Need | None:
    """The largest need of some jobs, resource by resource; None if none of them loads a model."""
    found = [need for need in needs if need is not None]
    if not found:
        return None
    return Need(
        max(need.gpu for need in found),
        max(need.vram_mb for need in found),
        max(need.mem_mb for need in found),
        max(need.seconds for need in found),
    )


def _text(study: Study) -> int:
    return PROMPT_TOKENS + study.sampling.max_new_tokens


def _base(study: Study, batch: int, others: float = 0.0, others_bytes: float = 0.0) -> Load:
    """The study's model at work on `batch` of its texts."""
    model = study.model
    if model is None:
        raise ValueError("a study from scores alone loads no model")
    return Load(
        parameters(study), model.dtype, model.device, batch, _text(study), others, others_bytes
    )


def rows_of(study: Study, policy: Policy) -> int:
    """Samples in one scatter item of a policy."""
    sampling_, prompts = study.sampling, study.prompts.limit or PROMPTS
    if policy.name == POOL.name:
        return math.ceil(prompts * sampling_.candidates / sampling_.shards)
    return math.ceil(prompts * study.prompts.test_share * sampling_.evaluation_candidates)


def base_model(study: Study) -> Need:
    """What training the sandbox's base model needs."""
    steps = study.sandbox.steps if study.sandbox else 0
    # It trains on the CPU, whatever device the models of the study use.
    load = replace(_base(study, 16), device="cpu", dtype="float32")
    return training(load, steps * load.batch)


def responses_at_once(study: Study) -> int:
    """Batch size of generation: as in the config, or as large as the model allows."""
    if study.sampling.batch_size is not None:
        return study.sampling.batch_size
    fitting = int(CACHE / _base(study, 1).cache)
    return min(LARGEST_BATCH, 2 ** max(0, fitting.bit_length() - 1))


def reward_model(study: Study, name: str) -> Need:
    """What training a reward model needs."""
    made = study.reward_models[name]
    texts = 2 if made.preferences else 1
    source = made.source or (study.model.source if study.model else "")
    size = parameters_of(source, made.dtype, study)
    device = study.model.device if study.model else "auto"
    load = Load(size, made.dtype, device, texts * made.batch_size, _text(study))
    method = Method.of(made.model_dump())
    return training(load, made.epochs * PAIRS * texts, method=method, logits=False)


def value_model(study: Study) -> Need:
    """What training the study's value model needs: low-rank changes for every value."""
    section = study.value_training
    if section is None:
        raise ValueError("no family of the study samples with a value model")
    candidates = study.sampling.candidates
    rows = (study.prompts.limit or PROMPTS) * (1 - study.prompts.test_share) * candidates
    method = Method(rank=section.rank * len(study.learnt_values))
    # The base model reads every candidate once more, which is less than half a pass of training.
    rows = math.ceil(rows * (section.epochs + 0.5))
    return training(_base(study, section.batch_size * candidates), rows, method=method)


def generate(study: Study, policy: Policy) -> Need:
    """What sampling one scatter item of a policy needs.

    The base model is loaded too, for log-probabilities, and so are the models that guide sampling.
    """
    others = 0.0, 0.0
    if policy.family != BASE.family:
        made = families.family(policy.family)
        # A value model becomes a second copy of the base model.
        copied = made.kind == "train" or made.learns
        others = _own_size(study) if copied else _scorers(study, policy)
    load = _base(study, responses_at_once(study), *others)
    return sampling(load, rows_of(study, policy), study.sampling.max_new_tokens)


def steer(study: Study, policy: Policy) -> Need:
    """What moving λ of a guided policy needs: its answers are drawn, and all its values score."""
    scorers, scorers_bytes = _scorers(study, policy)
    copies, copies_bytes = _own_size(study)
    load = _base(study, responses_at_once(study), copies + scorers, copies_bytes + scorers_bytes)
    return sampling(load, ALL_ANSWERS, study.sampling.max_new_tokens)


def annotate(study: Study, value: str, policy: Policy) -> Need | None:
    """What scoring one scatter item of a policy with one value needs; None without a model."""
    if not isinstance(study.values[value], ModelSpec):
        return None
    spec = study.scorer(value)
    size = parameters_of(spec["model"], spec["dtype"], study)
    length = min(spec["max_length"], _text(study))
    load = Load(size, spec["dtype"], spec["device"], spec["batch_size"], length)
    return scoring(load, rows_of(study, policy))


def train(study: Study, policy: Policy) -> Need:
    """What training the model of a policy needs, or averaging the models of its parts."""
    if policy.parts:
        return averaging(parameters(study), len(policy.parts))
    settings = policy.settings
    method, batch = Method.of(settings), settings.get("batch_size", 16)
    samples = policy.is_rewarded
    rewards, rewards_bytes = _scorers(study, policy) if samples else (0.0, 0.0)
    # The base model is the reference, in float32; with adapters it is the policy without adapters.
    reference = parameters(study)
    switched_off = method.rank and not policy.start
    held = 0.0 if switched_off or policy.reads != "pairs" else 4 * reference
    texts = 1 if samples else texts_per_row(study, policy)
    load = _base(study, texts * batch, reference + rewards, rewards_bytes + held)
    if not samples:
        rows = texts_trained_on(study, policy, PAIRS, study.prompts.limit or PROMPTS)
        return training(load, math.ceil(rows), method=method)
    rows = settings["steps"] * batch if "steps" in settings else PAIRS
    return training(load, rows, study.sampling.max_new_tokens, method)


def texts_per_row(study: Study, policy: Policy) -> int:
    """Responses in a row of the batches of a policy that is trained on texts."""
    return {"pairs": 2, "prompts": study.sampling.candidates, "candidates": 1}[policy.reads]


def texts_trained_on(study: Study, policy: Policy, pairs: float, prompts: float) -> float:
    """Responses that a policy is trained on in all its epochs.

    Args:
        study: the study.
        policy: one that is trained on texts.
        pairs: how many pairs there are, if its settings do not say how many it takes.
        prompts: prompts of the study.
    """
    epochs: int = policy.settings.get("epochs", 1)
    if policy.reads == "pairs":
        return 2 * (policy.settings.get("pairs") or pairs) * epochs
    fitted = prompts * (1 - study.prompts.test_share)
    return fitted * study.sampling.candidates * epochs


def _own_size(study: Study) -> tuple[float, float]:
    """Parameters of the base model, and bytes of its weights."""
    dtype = study.model.dtype if study.model else "float32"
    return parameters(study), parameters(study) * BYTES[dtype]


def _scorers(study: Study, policy: Policy) -> tuple[float, float]:
    """Parameters of all models that score the values in a policy's λ, and bytes of the weights."""
    distinct = {study.read_with[value]: value for value in study.weighed(policy)}
    specs = [study.scorer(value) for value in distinct.values()]
    models = [spec for spec in specs if "model" in spec]
    sizes = [parameters_of(spec["model"], spec["dtype"], study) for spec in models]
    bytes_each = [BYTES[spec["dtype"]] for spec in models]
    return sum(sizes), sum(size * each for size, each in zip(sizes, bytes_each, strict=True))


def parameters(study: Study) -> float:
    """Parameters of the base model."""
    if study.model is None:
        return 0.0
    return parameters_of(study.model.source, study.model.dtype, study)


def parameters_of(source: str, dtype: str, study: Study) -> float:
    """Parameters of a model: from the size of its folder, its name (`-7b`), or `PARAMETERS`.

    A model that the workflow trains is as large as the one that it starts from.
    """
    if source.startswith(f"results/{study.study}/"):
        if study.sandbox is not None or study.model is None or source == study.model.source:
            return Sandbox.PARAMETERS
        return parameters(study)
    folder = Path(resolve(source))
    weights = [*folder.glob("*.safetensors")] if folder.is_dir() else []
    if weights:
        return sum(file.stat().st_size for file in weights) / BYTES[dtype]
    named = re.findall(r"(\d+(?:\.\d+)?)([bm])(?![a-z])", source.lower())
    if named:
        number, unit = named[-1]
        return float(number) * (1e9 if unit == "b" else 1e6)
    return PARAMETERS


def launcher(gpus: int, nodes: int, mpi: str | None) -> str:
    """The command that starts a training on `gpus` GPUs of `nodes` nodes, one process per GPU.

    Args:
        gpus: total number of GPUs.
        nodes: number of nodes, each with the same number of the GPUs.
        mpi: the command that starts one launcher on each node.

    Raises:
        InputError: if several nodes cannot have equal shares of the GPUs, or `mpi` is missing.
    """
    # `accelerate launch` calls the same module.
    python = "python -m torch.distributed.run"
    if nodes > 1:
        if gpus % nodes or not gpus or not mpi:
            raise InputError(
                f"a training on nodes={nodes} with gpu={gpus} cannot be started; expected the same "
                "number of GPUs on each node, and the resources that make SLURM start one launcher "
                "per node (mpi, tasks, tasks_per_gpu): see docs/cluster.md, or set nodes=1"
            )
        # Snakemake runs on the first node, without SLURM's list of nodes: all processes connect to
        # that host, at a port that depends on the job.
        return (
            f"{mpi} --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1"
            f" --cpu-bind=none {python} --nnodes {nodes} --nproc_per_node {gpus // nodes}"
            " --rdzv_backend c10d --rdzv_id $SLURM_JOB_ID"
            " --rdzv_endpoint $(hostname):$((20000 + SLURM_JOB_ID % 20000))"
        )
    if gpus < 2:
        return ""
    # With --standalone it finds a free port, so several jobs can share a machine.
    reserved = f"python -m polyalign.runtime.devices {gpus}"
    return f"{reserved} {python} --standalone --nproc_per_node {gpus}"
