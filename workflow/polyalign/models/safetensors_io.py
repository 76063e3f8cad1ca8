"""Reading and writing safetensors files block by block, with NumPy alone.

The package `safetensors` is not used here: with NumPy it cannot read bfloat16, and it can only
write a file whose tensors are all in memory.

The format: eight bytes with the length of a JSON header, the header (name → dtype, shape, place),
then the bytes of the tensors.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from polyalign.errors import InputError

BLOCK = 2**20  # elements held at once of each model
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
         "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}  # fmt: skip
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class Tensor:
    """A stored tensor: bytes `start` to `stop` of `file`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, in the order of their bytes.

    Raises:
        InputError: if the file is missing, truncated, or of another format.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError(f"its header would have {length} bytes")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = {
            name: Tensor(
                file,
                entry["dtype"],
                tuple(entry["shape"]),
                8 + length + entry["data_offsets"][0],
                8 + length + entry["data_offsets"][1],
            )
            for name, entry in header.items()
        }
        end = max((tensor.stop for tensor in tensors.values()), default=0)
        if file.stat().st_size < end:
            raise ValueError(f"{file.stat().st_size} bytes instead of {end}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file}: cannot be read as safetensors ({error}); it may be truncated: "
            "make or download the model again"
        ) from error
    return dict(sorted(tensors.items(), key=lambda item: item[1].start))


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder, from one file or from the shards that its index names.

    Raises:
        InputError: if the folder has no safetensors weights, or a shard lacks a tensor.
    """
    if (folder / INDEX).is_file():
        names = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        shards = {shard: read_header(folder / shard) for shard in sorted(set(names.values()))}
        lacking = [name for name, shard in names.items() if name not in shards[shard]]
        if lacking:
            raise InputError(
                f"{folder / INDEX}: tensor '{lacking[0]}' is not in {names[lacking[0]]}; "
                "make or download the model again"
            )
        return {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    for file in (folder / SINGLE, folder / ADAPTER):
        if file.is_file():
            return read_header(file)
    raise InputError(
        f"{folder}: no {SINGLE}, {INDEX} or {ADAPTER}; expected a HuggingFace folder with "
        "safetensors weights: save the model with save_pretrained"
    )


def decode(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Stored numbers as float64."""
    if dtype == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return raw.astype(np.float64)


def encode(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """float64 in the stored type, rounded to nearest, ties to even."""
    if dtype != "BF16":
        return numbers.astype(FLOATS[dtype])
    bits = numbers.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    # Rounding up the mantissa of a NaN could make it an infinity.
    return np.where(np.isnan(numbers), np.uint32(0x7FC0), rounded).astype("<u2")


def raw_blocks(tensor: Tensor) -> Iterator[bytes]:
    """The bytes of a tensor, in blocks."""
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        left = tensor.stop - tensor.start
        while left:
            block = stream.read(min(left, BLOCK))
            left -= len(block)
            yield block


def same_bytes(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one type and shape hold the same bytes."""
    return all(a == b for a, b in zip(raw_blocks(one), raw_blocks(other), strict=True))


def block_starts(tensor: Tensor) -> range:
    """The elements of a tensor at which the blocks of `read_block` start."""
    return range(0, prod(tensor.shape), BLOCK)


def read_block(stream: BinaryIO, tensor: Tensor, start: int) -> np.ndarray:
    """At most BLOCK numbers of a tensor from element `start` on, as float64."""
    size = SIZES[tensor.dtype]
    stream.seek(tensor.start + start * size)
    count = min(BLOCK, prod(tensor.shape) - start)
    return decode(np.frombuffer(stream.read(count * size), FLOATS[tensor.dtype]), tensor.dtype)


def read_whole(tensor: Tensor) -> np.ndarray:
    """A tensor as float64 (adapters are small)."""
    if tensor.dtype not in FLOATS:
        raise InputError(f"{tensor.file}: a tensor is {tensor.dtype}; expected {', '.join(FLOATS)}")
    raw = np.frombuffer(b"".join(raw_blocks(tensor)), FLOATS[tensor.dtype])
    return decode(raw, tensor.dtype).reshape(tensor.shape)


def write_header(stream: BinaryIO, layout: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Write the header for tensors (dtype, shape) that follow in the given order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, (dtype, shape) in layout.items():
        size = prod(shape) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    # The data must start at a multiple of eight bytes.
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
