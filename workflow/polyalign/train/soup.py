"""Soups: weighted averages of the parameters of models of one architecture.

Rewarded soups (Ramé et al. 2023, arXiv 2306.04488) interpolate models that were trained from one
base for one value each. Tensors stream from disk to disk in small blocks, so neither torch nor the
memory of a model is needed.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from polyalign.errors import InputError
from polyalign.models.safetensors_io import (
    ADAPTER,
    FLOATS,
    INDEX,
    SIZES,
    Tensor,
    block_starts,
    encode,
    raw_blocks,
    read_block,
    read_tensors,
    read_whole,
    same_bytes,
    write_header,
)
from polyalign.runtime.files import atomic_write
from polyalign.train.inputs import TrainingInputs

ADAPTER_CONFIG = "adapter_config.json"
# Where a model came from, what wrote it and how it is stored say nothing about what it computes;
# the trainers set the padding token.
INCIDENTAL = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache",
              "pad_token_id"}  # fmt: skip
COPIED = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object, or InputError naming the file."""
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); expected a JSON file there") from error
    return content


def train(inputs: TrainingInputs, output: Path) -> dict[str, Any]:
    """Write the soup into `output`; returns the record of the training."""
    weights = inputs.settings["weights"]
    return make_soup([(inputs.policies[name], weight) for name, weight in weights.items()], output)


def make_soup(models: Sequence[tuple[str | Path, float]], output: Path) -> dict[str, Any]:
    """Average the parameters of models (or of LoRA adapters to one base) into a new folder.

    Tensors are averaged in float64 and stored in the dtype of the first model with a weight above
    0, whose configuration and tokenizer the soup takes too. A weight of 1 therefore gives that
    model's tensors bit by bit. Integers and booleans must be equal in all models. LoRA adapters are
    averaged exactly, as the changes B·A that they make to the base: the soup has the sum of their
    ranks, since averages of A and of B would not multiply to the average of B·A.

    Args:
        models: folders with their weights, each in [0, 1], which sum to 1.
        output: the soup's folder.

    Returns:
        Record: `models`, `kind` (`model` or `adapter`), `tensors`, `parameters`, `seconds`.

    Raises:
        InputError: if weights do not sum to 1, or models differ in architecture, vocabulary, names,
            shapes or integers; the message names what differs.
    """
    started = time.perf_counter()
    parts = [(Path(folder), float(weight)) for folder, weight in models]
    check_weights(parts)
    folders = [folder for folder, _ in parts]
    adapters = [(folder / ADAPTER_CONFIG).is_file() for folder in folders]
    if any(adapters) and not all(adapters):
        raise InputError(
            f"{folders[adapters.index(False)]}: not an adapter, while "
            f"{folders[adapters.index(True)]} is one; expected all or none: merge the adapters"
        )
    used = [(folder, weight) for folder, weight in parts if weight > 0]
    with atomic_write(output) as draft:
        draft.mkdir()
        if all(adapters):
            written = adapter_soup(folders, used, draft)
        else:
            written = model_soup(folders, used, draft)
    return {
        "models": [[str(folder), weight] for folder, weight in parts],
        "kind": "adapter" if all(adapters) else "model",
        "tensors": len(written),
        "parameters": sum(prod(shape) for shape in written.values()),
        "seconds": round(time.perf_counter() - started, 3),
    }


def check_weights(parts: Sequence[tuple[Path, float]]) -> None:
    """Raise InputError unless the weights are in [0, 1] and sum to 1."""
    for folder, weight in parts:
        if not 0 <= weight <= 1:
            raise InputError(f"{folder}: weight {weight:g}; expected a number in [0, 1]")
    total = sum(weight for _, weight in parts)
    if abs(total - 1) > 1e-6:
        raise InputError(f"the weights of the soup sum to {total:g}; expected 1: change them")


def model_soup(
    folders: Sequence[Path], used: Sequence[tuple[Path, float]], draft: Path
) -> dict[str, tuple[int, ...]]:
    """Write the soup of whole models into `draft`; return the shapes by name."""
    check_configs(folders)
    check_tokenizers(folders)
    tensors = common_tensors(folders)
    weights = [weight for _, weight in used]
    sources = [tensors[folders.index(folder)] for folder, _ in used]
    shards: dict[str, dict[str, Tensor]] = {}
    for name, tensor in sources[0].items():
        shards.setdefault(tensor.file.name, {})[name] = tensor
    for folder_tensors in tensors:
        check_integers(sources[0], folder_tensors)
    for shard, layout in shards.items():
        write_shard(draft / shard, layout, sources, weights)
    copy_side_files(used[0][0], draft)
    if (used[0][0] / INDEX).is_file():
        size = sum(tensor.stop - tensor.start for tensor in sources[0].values())
        names = {name: shard for shard, layout in shards.items() for name in layout}
        index = {"metadata": {"total_size": size}, "weight_map": names}
        (draft / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return {name: tensor.shape for name, tensor in sources[0].items()}


def check_configs(folders: Sequence[Path]) -> None:
    """Raise InputError naming the first key of config.json in which two models differ."""
    first = read_json(folders[0] / "config.json")
    for folder in folders[1:]:
        other = read_json(folder / "config.json")
        for key in sorted((set(first) | set(other)) - INCIDENTAL):
            if first.get(key) != other.get(key):
                raise InputError(
                    f"{folder / 'config.json'}: '{key}' is {other.get(key)!r}, but in {folders[0]} "
                    f"it is {first.get(key)!r}; expected models of one architecture, trained from "
                    "one base"
                )


def vocabulary(folder: Path) -> Any:
    """What a folder's tokenizer maps texts to, comparable between folders; None without one."""
    if (folder / "tokenizer.json").is_file():
        content = read_json(folder / "tokenizer.json")
        return {
            "model": content.get("model"),
            "added_tokens": {entry["content"]: entry["id"] for entry in content["added_tokens"]},
        }
    files = [folder / name for name in ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model")]
    return {file.name: file.read_bytes() for file in files if file.is_file()} or None


def check_tokenizers(folders: Sequence[Path]) -> None:
    """Raise InputError naming the model whose vocabulary differs from the first one's."""
    first = vocabulary(folders[0])
    for folder in folders[1:]:
        if vocabulary(folder) != first:
            raise InputError(
                f"{folder}: its vocabulary differs from that of {folders[0]}; expected models with "
                "one tokenizer: equal ids must mean equal tokens"
            )


def common_tensors(folders: Sequence[Path]) -> list[dict[str, Tensor]]:
    """The tensors of each model, with the same names and shapes in all.

    A copy of tied weights that only some of the models have stored is left out.
    """
    found = [read_tensors(folder) for folder in folders]
    everywhere = set.intersection(*(set(tensors) for tensors in found))
    for folder, tensors in zip(folders, found, strict=True):
        for name in [name for name in tensors if name not in everywhere]:
            lacking = folders[[name in other for other in found].index(False)]
            if not is_tied_copy(folder, name, tensors):
                raise InputError(
                    f"{lacking}: no tensor '{name}', which {folder} has; expected models of one "
                    "architecture"
                )
            del tensors[name]
    for folder, tensors in zip(folders[1:], found[1:], strict=True):
        for name, tensor in tensors.items():
            if tensor.shape != found[0][name].shape:
                raise InputError(
                    f"{folder}: tensor '{name}' has shape {list(tensor.shape)}, but in "
                    f"{folders[0]} it has {list(found[0][name].shape)}; expected models of one "
                    "architecture and vocabulary"
                )
    return found


def is_tied_copy(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a tensor repeats another one of a model whose configuration ties weights."""
    # What transformers takes where the key is absent.
    if not read_json(folder / "config.json").get("tie_word_embeddings", True):
        return False
    tensor = tensors[name]
    return any(
        other.shape == tensor.shape and other.dtype == tensor.dtype and same_bytes(tensor, other)
        for other_name, other in tensors.items()
        if other_name != name
    )


def check_integers(first: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Raise InputError naming a tensor that cannot be averaged and is not equal."""
    for name, tensor in first.items():
        both = tensor.dtype in FLOATS and other[name].dtype in FLOATS
        if both:
            continue
        if tensor.dtype not in SIZES or other[name].dtype != tensor.dtype:
            raise InputError(
                f"{other[name].file}: tensor '{name}' is {other[name].dtype}, in {tensor.file} it "
                f"is {tensor.dtype}; expected {', '.join(FLOATS)}, or equal integers: save the "
                "models unquantised"
            )
        if not same_bytes(tensor, other[name]):
            raise InputError(
                f"{other[name].file}: the integers of '{name}' differ from those in {tensor.file}; "
                "integers cannot be averaged: expected models trained from one base"
            )


def write_shard(
    file: Path,
    layout: Mapping[str, Tensor],
    sources: Sequence[Mapping[str, Tensor]],
    weights: Sequence[float],
) -> None:
    """Write the averages of the tensors in `layout`, in its order, types and shapes."""
    with file.open("wb") as stream, ExitStack() as stack:
        files = {tensor.file for tensors in sources for tensor in tensors.values()}
        streams = {path: stack.enter_context(path.open("rb")) for path in sorted(files)}
        write_header(stream, {name: (item.dtype, item.shape) for name, item in layout.items()})
        for name, tensor in layout.items():
            if len(sources) == 1 or tensor.dtype not in FLOATS:
                # Nothing to average, and no bit may change.
                for block in raw_blocks(tensor):
                    stream.write(block)
                continue
            for start in block_starts(tensor):
                mean: Any = 0.0
                for tensors, weight in zip(sources, weights, strict=True):
                    part = tensors[name]
                    mean += weight * read_block(streams[part.file], part, start)
                stream.write(encode(mean, tensor.dtype).tobytes())


def copy_side_files(folder: Path, draft: Path) -> None:
    """Copy configuration and tokenizer, but no weights, index or training logs."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in COPIED and not file.name.endswith(".index.json"):
            shutil.copyfile(file, draft / file.name)


def adapter_soup(
    folders: Sequence[Path], used: Sequence[tuple[Path, float]], draft: Path
) -> dict[str, tuple[int, ...]]:
    """Write the exact average of LoRA adapters into `draft`; return the shapes by name."""
    configs = {folder: read_json(folder / ADAPTER_CONFIG) for folder in folders}
    check_adapters(configs)
    check_tokenizers(folders)
    found = {folder: read_tensors(folder) for folder in folders}
    for folder in folders[1:]:
        differing = set(found[folder]) ^ set(found[folders[0]])
        if differing:
            raise InputError(
                f"{folder}: tensor '{min(differing)}' is not in both this adapter and "
                f"{folders[0]}; expected adapters to the same modules"
            )
    first = used[0][0]
    copy_side_files(first, draft)
    if len(used) == 1:
        shutil.copyfile(first / ADAPTER, draft / ADAPTER)
        return {name: tensor.shape for name, tensor in found[first].items()}
    weights = [(configs[folder], found[folder], weight) for folder, weight in used]
    averages = {
        name: (tensor.dtype, average_factor(name, weights)) for name, tensor in found[first].items()
    }
    with (draft / ADAPTER).open("wb") as stream:
        layout = {name: (dtype, item.shape) for name, (dtype, item) in averages.items()}
        write_header(stream, layout)
        for dtype, item in averages.values():
            stream.write(encode(item, dtype).tobytes())
    rank = sum(configs[folder]["r"] for folder, _ in used)
    merged = {**configs[first], "r": rank, "lora_alpha": rank, "use_rslora": False}
    (draft / ADAPTER_CONFIG).write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")
    return {name: shape for name, (_, shape) in layout.items()}


def average_factor(
    name: str, adapters: Sequence[tuple[Mapping[str, Any], Mapping[str, Tensor], float]]
) -> np.ndarray:
    """One tensor of the average of adapters (configuration, tensors, weight).

    Factors are stacked along the rank: [B₁ B₂] [A₁; A₂] = B₁A₁ + B₂A₂, with each adapter's weight
    and scale (alpha / rank, or alpha / √rank) in its B. All other tensors are averaged.
    """
    parts = []
    for config, tensors, weight in adapters:
        numbers = read_whole(tensors[name])
        if is_factor(name, "B"):
            rank = config["r"]
            scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
            numbers = numbers * (weight * scale)
        elif not is_factor(name, "A"):
            numbers = numbers * weight
        parts.append(numbers)
    try:
        if is_factor(name, "A"):
            return np.concatenate(parts, axis=0)
        if is_factor(name, "B"):
            return np.concatenate(parts, axis=1)
        return np.asarray(np.stack(parts).sum(axis=0))
    except ValueError as error:
        shapes = " and ".join(str(list(part.shape)) for part in parts)
        raise InputError(
            f"{adapters[-1][1][name].file}: tensor '{name}' does not fit ({shapes}); "
            "expected adapters to one base model"
        ) from error


def is_factor(name: str, factor: str) -> bool:
    """Whether a tensor is the factor A (rank first) or B (rank second) of a LoRA module."""
    return f".lora_{factor}." in name or f".lora_embedding_{factor}" in name


def check_adapters(configs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raise InputError for adapters of a kind that cannot be averaged, or to different bases."""
    first, base = next(iter(configs.items()))
    for folder, config in configs.items():
        file = folder / ADAPTER_CONFIG
        biased = config.get("bias") not in (None, "none")
        if config.get("peft_type") != "LORA" or config.get("use_dora") or biased:
            raise InputError(
                f"{file}: not a plain LoRA adapter; expected peft_type LORA without DoRA and bias: "
                "merge the adapter into its base"
            )
        if config.get("rank_pattern") or config.get("alpha_pattern"):
            raise InputError(
                f"{file}: ranks differ between modules; merge the adapter into its base first"
            )
        for key in ("base_model_name_or_path", "fan_in_fan_out"):
            if config.get(key) != base.get(key):
                raise InputError(
                    f"{file}: '{key}' is {config.get(key)!r}, but in {first} it is "
                    f"{base.get(key)!r}; expected adapters to one base model"
                )
