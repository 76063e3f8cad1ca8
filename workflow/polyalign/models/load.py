"""Loading models and tokenizers from folders, packages, GGUF files and the hub."""

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import NewGELUActivation

from polyalign.data.packages import resolve
from polyalign.errors import InputError
from polyalign.models import own_code
from polyalign.models.block_sparse import attend_by_length
from polyalign.models.few_bits import in_few_bits
from polyalign.models.plain import check_causal
from polyalign.models.sources import ADAPTED, HEAD, adapter_base, gguf_parts
from polyalign.paths import repair

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

GENERATION = "generation_config.json"

NAMED = 6
"""Most weights that a message names."""

WRAPPED = re.compile(r"\.(modules_to_save|original_module)(?=\.)")
"""What peft puts within the names of weights that an adapter trains whole."""

POOLER = re.compile(r"(^|\.)pooler\.")
"""The part of an encoder that old classifiers read and nothing else does."""

UNREAD = re.compile(
    r"(^|\.)(inv_freq|masked_bias|attn\.bias|attention\.bias|position_ids|num_batches_tracked)$"
    r"|(^|\.)(vision_tower|vision_model|visual|audio_tower|multi_modal_projector)\."
)
"""Weights that no text model reads: constants that older versions saved, and parts for images."""

BESIDE = ("v_head.", "cls.seq_relationship.")
"""Heads that training put beside the one of a language model, which does not read them.

The head of a classifier is not one of them: a reward model is no language model any more.
"""


def pick_device(device: str = "auto") -> torch.device:
    """The device to compute on; `auto` takes CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def load_model(
    loader: Any, source: str, what: str, *, new_head: bool = False, **options: Any
) -> Any:
    """The model at `source`, with all its weights from there; or one clear error.

    Args:
        loader: a class of transformers.
        source: as in `_placed`.
        what: the kind of model, for messages.
        new_head: whether a head that `source` lacks, or has for other labels, is drawn at random.
        options: of `from_pretrained`.

    Raises:
        InputError: if it cannot be loaded, or weights are missing, of another shape, or left over.
    """
    with _clear_errors(source, what):
        return _load(loader, source, new_head, options)


@contextmanager
def _clear_errors(source: str, what: str) -> Iterator[None]:
    """Turn whatever a loader raises into one InputError that says why."""
    try:
        yield
    except InputError:
        raise
    except ImportError as fault:
        reason = _shortened(" ".join(str(fault).split()))
        raise InputError(
            f"{source}: needs packages that are not here ({reason}); expected them beside the "
            f"{what}; install them"
        ) from fault
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as fault:
        reason = " ".join(str(fault).split())
        if "trust_remote_code" in reason:
            raise InputError(own_code.refusal(source, f"of a {what}")) from fault
        raise InputError(
            f"{source}: cannot be loaded as a {what} ({_shortened(reason)}); expected "
            "a HuggingFace folder, an adapter, a GGUF file or a hub id: "
            f"{repair(source, 'the folder and its .json')}"
        ) from fault
    except Exception as fault:  # safetensors raises its own, unrelated class on a damaged file
        if type(fault).__module__.partition(".")[0] not in ("safetensors", "safetensors_rust"):
            raise
        raise InputError(
            f"{source}: its weights are damaged ({fault}); expected a whole file: "
            f"{repair(source, 'the folder and its .json')}"
        ) from fault


def _shortened(text: str, most: int = 400) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."


def _load(
    loader: Any,
    source: str,
    new_head: bool,
    options: dict[str, Any],
    supplied: AbstractSet[str] = frozenset(),
) -> Any:
    """The model at `source`: a folder or hub id, a GGUF file, or an adapter on its base.

    Args:
        loader, source, new_head, options: as in `load_model`.
        supplied: names of weights that an adapter on this model brings.
    """
    base = adapter_base(source)
    if base is not None:
        return _adapted(loader, source, base, new_head, options, supplied)
    parts = gguf_parts(source)
    path, file = parts if parts else (resolve(source), None)
    if loader is AutoModelForCausalLM and not file:
        _check_generation_config(source, path, options.get("revision"))
    # transformers would ask whether to run the code of a model if it were told nothing.
    options = {"trust_remote_code": False, **options}
    made_by = loader
    if options["trust_remote_code"]:
        own_code.check_trusted(source, options.get("revision"), hub=True)
        own = own_code.auto_classes(source, options.get("revision"))
        # Many reward models with code of their own have no other class.
        if loader.__name__ not in own and AutoModel.__name__ in own:
            made_by = AutoModel
    elif loader is not AutoModelForCausalLM and not new_head:
        own_code.check_untrusted(source, options.get("revision"), hub=True)
    model, found = made_by.from_pretrained(
        path,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
        **({"gguf_file": file} if file else {}),
    )
    _check_weights(loader, source, model, found, new_head, supplied)
    if file:
        # The weights are plain numbers now, but these two would refuse to train or to save them.
        model.hf_quantizer = None
        del model.config.quantization_config
    return model


def _check_generation_config(source: str, path: str, revision: str | None) -> None:
    """Raise InputError if a model's generation_config.json, if any, does not tell its end tokens.

    Args:
        source: as in `_load`.
        path: its folder or hub id.
        revision: of a hub model.
    """
    reason = ""
    try:
        ends = GenerationConfig.from_pretrained(path, revision=revision or "main").eos_token_id
        several = ends if isinstance(ends, list) else [ends]
        if not all(end is None or type(end) is int for end in several):
            reason = f"eos_token_id is {ends!r}, not the ids of tokens"
    except (OSError, ValueError, TypeError) as fault:
        # Many models have none.
        if (Path(path) / GENERATION).is_file() or not isinstance(fault, OSError):
            reason = _shortened(" ".join(str(fault).split()))
    if reason:
        raise InputError(
            f"{source}: its {GENERATION} is not valid ({reason}); expected one that transformers "
            "can read, since its end tokens are taken from there; correct or remove that entry"
        )


def _check_weights(
    loader: Any,
    source: str,
    model: Any,
    found: dict[str, Any],
    new_head: bool,
    supplied: AbstractSet[str],
) -> None:
    """Raise InputError if weights of a model are random, or weights of its files are unused.

    Args:
        loader, source, new_head, supplied: as in `_load`.
        model: what was loaded.
        found: what transformers says about the loading.
    """
    kind, backbone = type(model).__name__, f"{model.base_model_prefix}."
    shapes = {
        name: f" ({list(has)}, not {list(needs)})" for name, has, needs in found["mismatched_keys"]
    }
    missing = {*found["missing_keys"], *shapes} - supplied
    # Nobody reads the pooler of an encoder: its last hidden states are used.
    missing -= {name for name in missing if loader is AutoModel and POOLER.search(name)}
    if new_head:
        drawn = {name for name in missing if not name.startswith(backbone) or POOLER.search(name)}
        if drawn:
            print(f"{source}: new, drawn from the seed: {_names(drawn)}", flush=True)
        missing -= drawn
    if missing:
        listed = _names(f"{name}{shapes.get(name, '')}" for name in missing)
        raise InputError(
            f"{source}: not a whole {kind}: {len(missing)} weights are missing or have another "
            f"shape, and would be random: {listed}; expected a model of this kind with all its "
            "weights; take another model, or complete this one"
        )
    left = {name for name in found["unexpected_keys"] if not _is_harmless(name, loader, model)}
    if unread := set(found["unexpected_keys"]) - left:
        print(f"{source}: not read as a {kind}: {_names(unread)}", flush=True)
    if left:
        raise InputError(
            f"{source}: a {kind} has no place for {len(left)} of its weights: {_names(left)}; "
            "expected a model of this kind, whose config.json fits its weights; take another "
            "model, or correct its config.json"
        )


def _names(names: Iterable[str]) -> str:
    """A few names of weights, in order."""
    every = sorted(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return f"{', '.join(every[:NAMED])}{more}"


def _is_harmless(name: str, loader: Any, model: Any) -> bool:
    """Whether a model computes the same without a weight that was left over."""
    if UNREAD.search(name) or POOLER.search(name):
        return True
    if loader is AutoModelForCausalLM:
        return name.startswith(BESIDE)
    # What does not belong to the parts of an encoder or classifier is the head of another task.
    parts = [model.base_model_prefix, *(part for part, _ in model.named_children())]
    return not name.startswith(tuple(f"{part}." for part in parts))


def _adapted(
    loader: Any,
    source: str,
    base: tuple[str, str | None],
    new_head: bool,
    options: dict[str, Any],
    supplied: AbstractSet[str],
) -> Any:
    """The base model with an adapter merged into its weights; arguments as in `_load`."""
    import peft

    folder = resolve(source)
    saved = {
        name.removeprefix(ADAPTED): weight
        for name, weight in peft.utils.load_peft_weights(folder, device="cpu").items()
    }
    options = {**options, "revision": base[1]}
    labels = [weight.shape[0] for name, weight in saved.items() if HEAD.fullmatch(name)]
    if labels and loader is AutoModelForSequenceClassification:
        options.setdefault("num_labels", labels[-1])
    try:
        model = _load(loader, base[0], new_head, options, supplied | saved.keys())
    except InputError as fault:
        raise InputError(f"{source}, an adapter on {fault}") from fault
    _make_room(model, saved)
    known = set(model.state_dict())
    config = peft.PeftConfig.from_pretrained(folder)
    # It would wrap the model for that task alone, but a classifier may start from a language model.
    config.task_type = None
    adapted = peft.PeftModel.from_pretrained(model, folder, config=config)
    if not hasattr(adapted.base_model, "merge_and_unload"):
        kind: Any = config.peft_type
        raise InputError(
            f"{source}: an adapter of kind {kind.value} cannot be merged into the weights of its "
            "base model; expected a kind that can, such as LoRA; train such an adapter"
        )
    state = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    named = {name.removeprefix(ADAPTED) for name in state}
    # Of embeddings that are trained whole peft saves its own copies too.
    plain = {name: WRAPPED.sub("", name) for name in saved}
    brought = {name for name in saved if name in named or plain[name] not in named | known}
    if unlike := named ^ brought:
        raise InputError(
            f"{source}: the adapter does not fit its adapter_config.json and its base model "
            f"{base[0]}: {_names(unlike)}; expected the same weights in all of them; correct "
            "base_model_name_or_path or target_modules, or save the adapter again"
        )
    whole = adapted.merge_and_unload()
    given, made = whole.get_input_embeddings(), whole.get_output_embeddings()
    if made is not None and made.weight is not given.weight:
        # An adapter that trains both separates them; tied, one of them would be lost when saved.
        whole.config.tie_word_embeddings = False
    return whole


def _make_room(model: Any, saved: dict[str, Any]) -> None:
    """Give a model the vocabulary of an adapter that brings embeddings for more tokens."""
    embeddings = model.get_input_embeddings()
    at = next(name for name, module in model.named_modules() if module is embeddings)
    if f"{at}.weight" in saved and saved[f"{at}.weight"].shape[0] != embeddings.num_embeddings:
        model.resize_token_embeddings(saved[f"{at}.weight"].shape[0], mean_resizing=False)


def load_tokenizer(
    source: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Tokenizer of a model; a missing padding token becomes the end-of-sequence token.

    Args:
        source, revision, trust_remote_code: as in `_placed`.

    Raises:
        InputError: if it cannot be loaded, knows no text, or has no end-of-sequence token to pad
            with.
    """
    with _clear_errors(source, "tokenizer"):
        tokenizer = _load_tokenizer(source, revision, trust_remote_code)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise InputError(
                f"{source}: its tokenizer has neither a padding nor an end token; expected one of "
                "them; name it in tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_tokenizer(source: str, revision: str | None, trusted: bool) -> Any:
    """The tokenizer of a folder or hub id, a GGUF file, or an adapter, else of the adapter's base.

    Without its files transformers makes a tokenizer that knows no text.
    """
    base = adapter_base(source)
    path = Path(resolve(source))
    if base is not None and not (path / "tokenizer_config.json").is_file():
        return _load_tokenizer(*base, trusted)
    if parts := gguf_parts(source):
        return AutoTokenizer.from_pretrained(
            parts[0], gguf_file=parts[1], revision=revision, trust_remote_code=False
        )
    if trusted:
        own_code.check_trusted(source, revision, hub=True)
    found = AutoTokenizer.from_pretrained(
        resolve(source), revision=revision, trust_remote_code=trusted
    )
    # Tokenizers of bytes or characters have no files.
    files = {*found.vocab_files_names.values(), "tokenizer.json"} if found.vocab_files_names else ()
    lacks_files = path.is_dir() and files and not any((path / name).is_file() for name in files)
    if lacks_files or not found("a b c", add_special_tokens=False)["input_ids"]:
        raise InputError(
            f"{source}: has no tokenizer (it would read every text as nothing); expected "
            f"{' or '.join(sorted(files))} beside the model; save the tokenizer there too"
        )
    return found


def load_causal_lm(source: str, **options: Any) -> PreTrainedModel:
    """Causal language model in evaluation mode; options as in `_placed`.

    Raises:
        InputError: if it cannot be loaded, or is not causal.
    """
    model = _placed(AutoModelForCausalLM, source, "causal model", **options)
    check_causal(model, source)
    return model


def load_classifier(source: str, **options: Any) -> PreTrainedModel:
    """Sequence classifier (a reward model has one label) in evaluation mode; see `_placed`.

    Raises:
        InputError: if it cannot be loaded.
    """
    return _placed(AutoModelForSequenceClassification, source, "sequence classifier", **options)


def load_encoder(source: str, **options: Any) -> PreTrainedModel:
    """Text encoder whose last hidden states are used, in evaluation mode; see `_placed`.

    Raises:
        InputError: if it cannot be loaded.
    """
    return _placed(AutoModel, source, "text encoder", **options)


def _placed(
    loader: Any,
    source: str,
    what: str,
    *,
    dtype: str = "float32",
    device: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    bits: int | None = None,
) -> PreTrainedModel:
    """A model on the device that it runs on, in evaluation mode.

    Args:
        loader: a class of transformers.
        source: folder, adapter folder, GGUF file, `package:NAME/PATH` or hub id.
        what: the kind of model, for messages.
        dtype: number format that it computes in.
        device: auto, cpu or cuda; ignored with `device_map`.
        device_map: how accelerate spreads it over several GPUs: auto, balanced, sequential.
        revision: commit or tag of a hub model.
        trust_remote_code: whether Python code that comes with the model is run.
        bits: 4 or 8 for weights in so few (None: as `dtype` says), on a GPU.
    """
    options: dict[str, Any] = {
        "dtype": DTYPES[dtype],
        "revision": revision,
        "trust_remote_code": trust_remote_code,
    }
    if bits is not None:
        options |= in_few_bits(bits, DTYPES[dtype], f"weights in {bits} bits")
        device_map = device_map or "cuda:0"
    if device_map is not None:
        spread: PreTrainedModel = load_model(loader, source, what, device_map=device_map, **options)
        attend_by_length(spread)
        return fused(spread).eval()
    model: Any = load_model(loader, source, what, **options)
    attend_by_length(model)
    placed: PreTrainedModel = fused(model.to(pick_device(device))).eval()
    return placed


def fused(model: PreTrainedModel) -> PreTrainedModel:
    """The model with GPT-2's activation as one kernel: the same function in a third of the time.

    In transformers it is eight passes over memory and takes a third of the time of scoring.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return model
