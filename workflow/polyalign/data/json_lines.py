"""JSON lines: rows of a file one by one, and what JSON may hold that is not text."""

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyalign.data.packed import opened
from polyalign.errors import InputError


def read_lines(file: str | Path) -> Iterator[Any]:
    """Parsed rows of a .jsonl or .jsonl.gz file; None for a line that is not JSON.

    A byte order mark is skipped. The file may be in a package or an archive.

    Raises:
        InputError: if the file cannot be read.
    """
    try:
        with opened(file) as packed:
            content = gzip.GzipFile(fileobj=packed) if str(file).endswith(".gz") else packed
            for line in io.TextIOWrapper(content, encoding="utf-8-sig"):
                if line.strip():
                    try:
                        yield whole(json.loads(line))
                    except json.JSONDecodeError:
                        yield None
    except (OSError, EOFError, UnicodeDecodeError) as fault:
        raise InputError(
            f"{file}: cannot be read ({fault}); expected JSON lines: download or write it again"
        ) from fault


def whole(content: Any) -> Any:
    """What JSON holds, with U+FFFD for halves of characters (lone surrogates).

    JSON may escape such a half, `\\ud83d`; no tokenizer, file or table can hold it.
    """
    if isinstance(content, str):
        try:
            content.encode()
        except UnicodeEncodeError:
            return content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return content
    if isinstance(content, list):
        return [whole(item) for item in content]
    if isinstance(content, dict):
        return {whole(name): whole(item) for name, item in content.items()}
    return content


def is_chat(cell: Any) -> bool:
    """Whether a cell is a list of chat messages: `[{"role": "user", "content": "Hello"}]`."""
    # In a table they may be in NumPy's arrays.
    messages = cell if isinstance(cell, list) else getattr(cell, "tolist", list)()
    return isinstance(messages, list) and any(
        isinstance(message, dict) and "role" in message for message in messages
    )
