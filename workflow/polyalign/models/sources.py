"""Resolving and fingerprinting model sources without importing torch."""

import hashlib
import json
import re
from pathlib import Path

from polyalign.data.packages import resolve
from polyalign.errors import InputError

ADAPTER = "adapter_config.json"
MODEL_SUFFIXES = (".safetensors", ".bin", ".json", ".txt", ".model", ".jinja", ".gguf", ".py")
"""Endings of the files in a model folder that its answers depend on."""

VERSIONS = "versions.json"
"""File in the folder of a model that this workflow made: versions of the software used."""

CARD = "card.json"
"""File in the folder of a reward model that this workflow made: how far it agrees with people."""

NO_ANSWERS = (VERSIONS, CARD)
"""Files with endings of MODEL_SUFFIXES that answers do not depend on."""

ADAPTED = "base_model.model."
"""What peft puts before the names of a model's weights."""

HEAD = re.compile(r"(score|classifier|classification_head)(\.out_proj)?\.weight")
"""The last layer of a classifier's head: its rows are the labels."""

WHOLE = 64 * 2**20
"""Files up to this size (bytes) are hashed whole; of larger ones, BLOCKS blocks of 1 MiB."""

BLOCKS = 16


def gguf_parts(source: str) -> tuple[str, str] | None:
    """Folder (or hub repository) and file name of a GGUF source; None for any other."""
    path = resolve(source)
    folder, _, name = path.rpartition("/")
    return (folder or ".", name) if name.endswith(".gguf") else None


def adapter_base(source: str) -> tuple[str, str | None] | None:
    """The base model that an adapter folder names, with its revision; None for any other source.

    Raises:
        InputError: if the adapter names none.
    """
    config = Path(resolve(source)) / ADAPTER
    if not config.is_file():
        return None
    settings = json.loads(config.read_text(encoding="utf-8"))
    base, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if not base:
        raise InputError(
            f"{config}: names no base model; expected `base_model_name_or_path`; write it there"
        )
    return str(base), revision


def label_names(source: str, revision: str | None = None, *, hub: bool = False) -> list[str] | None:
    """Names of a classifier's labels, from its config.json; None where that does not tell.

    An adapter has as many as its head, or as its base model; a head of another size than the base
    model's has no names.

    Args:
        source: as in `resolve`.
        revision: of a hub model.
        hub: whether to ask the hub about a model that is not here.

    Raises:
        InputError: if an adapter names no base model, or its file is broken.
    """
    path = Path(resolve(source))
    if base := adapter_base(source):
        names, count = label_names(*base, hub=hub), _adapter_labels(path)
        if count is None or (names is not None and len(names) == count):
            return names
        return [f"LABEL_{number}" for number in range(count)]
    file = file_of_model(source, "config.json", revision, hub=hub)
    if file is None:
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None  # whoever loads the model says what is wrong with it
    if names := config.get("id2label"):
        return [str(names[number]) for number in sorted(names, key=int)]
    # transformers leaves out what is its default: two labels without names.
    classifies = any("SequenceClassification" in name for name in config.get("architectures") or ())
    return ["LABEL_0", "LABEL_1"] if classifies else None


def file_of_model(source: str, name: str, revision: str | None, *, hub: bool) -> Path | None:
    """A file of a model; None if it has none of that name, as far as can be seen.

    Args:
        source: as in `resolve`.
        name: of the file.
        revision: of a hub model.
        hub: whether to ask the hub about a model that is not here.
    """
    path = Path(resolve(source))
    file = path / name
    if hub and not path.exists():
        from transformers.utils.hub import cached_file

        found = cached_file(
            source,
            name,
            revision=revision,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        file = Path(found) if found else file
    return file if file.is_file() else None


def _adapter_labels(folder: Path) -> int | None:
    """Rows of the head that an adapter brings; None if it brings none, or cannot be read here."""
    from polyalign.models.safetensors_io import ADAPTER, read_header

    if not (folder / ADAPTER).is_file():
        return None
    saved = read_header(folder / ADAPTER)
    heads = [
        at.shape[0] for name, at in saved.items() if HEAD.fullmatch(name.removeprefix(ADAPTED))
    ]
    return heads[-1] if heads else None


def lacks_chat_template(source: str) -> bool:
    """Whether the tokenizer of a model that is here has surely no chat template."""
    folder = Path(resolve(source))
    config = folder / "tokenizer_config.json"
    if not config.is_file() or any(folder.glob("*chat_template*")):
        return False
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except ValueError:
        return False  # whoever loads the model says what is wrong with it
    return not settings.get("chat_template")


def training_template(source: str) -> str | None:
    """The template of the prompts that a reward model of this workflow was trained on.

    None for any other model, and for a classifier trained on labelled texts.
    """
    path = Path(resolve(source))
    manifest = path.with_name(f"{path.name}.json")
    if not (path.is_dir() and manifest.is_file()):
        return None
    made = json.loads(manifest.read_text(encoding="utf-8"))
    if not made.get("settings", {}).get("pairs"):
        return None
    # The record knows better: an encoder cannot read a chat template.
    template: str | None = made["record"]["settings"]["template"]
    return template


def fingerprint(source: str, revision: str | None = None) -> str:
    """A short text that changes when the files that a model's answers depend on change.

    For a model that the workflow made: a hash of the hashes in its manifest. For another folder or
    file: a hash of its files; of a large file the size and 16 blocks of 1 MiB spread over it count.
    For an adapter, its base counts too. For a model on the hub: the commit that `revision` means
    now, from the local cache where the hub cannot be reached.

    Raises:
        InputError: if there is no such model, or the commit of the hub cannot be found out.
    """
    path = Path(resolve(source))
    manifest = path.with_name(f"{path.name}.json")
    if path.is_dir() and manifest.is_file():
        files = json.loads(manifest.read_text(encoding="utf-8")).get("files")
        if files:
            return _digest(json.dumps(files, sort_keys=True).encode())
    if path.is_file():
        return _digest(_file_digest(path))
    if path.is_dir():
        parts = [
            f"{file.name} ".encode() + _file_digest(file)
            for file in sorted(path.iterdir())
            if file.suffix in MODEL_SUFFIXES and file.name not in NO_ANSWERS
        ]
        base = adapter_base(source)
        return _digest(*parts, fingerprint(*base).encode() if base else b"")
    return f"commit:{_hub_commit(source, revision)}"


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return f"sha256:{digest.hexdigest()[:16]}"


def _file_digest(file: Path) -> bytes:
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        if size <= WHOLE:
            digest.update(stream.read())
        else:
            for block in range(BLOCKS):
                stream.seek((size - 2**20) * block // (BLOCKS - 1))
                digest.update(stream.read(2**20))
    return digest.digest()


def _hub_commit(source: str, revision: str | None) -> str:
    """The commit of a hub repository that `revision` (default: its main branch) means."""
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    import huggingface_hub
    from huggingface_hub.constants import HF_HUB_CACHE

    repository = "/".join(source.split("/")[:2])
    refusal = ""
    try:
        commit = huggingface_hub.HfApi().model_info(repository, revision=revision).sha
        if commit:
            return commit
    # The hub's client raises classes of whichever HTTP library it is built on.
    except Exception as fault:
        refusal = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
    kept = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "refs"
    reference = kept / (revision or "main")
    if reference.is_file():
        return reference.read_text(encoding="utf-8").strip()
    raise InputError(
        f"{source}: not a folder or file, not a model that the hub knows ({refusal}), and not in "
        "the local cache of the hub; expected one of them; check the name and the network"
    )
