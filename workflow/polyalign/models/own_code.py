"""Python code that comes with a model: run only where the config says so, and only if it is pinned.

Such a model names its classes as `auto_map` in its configuration. transformers would ask on the
terminal whether to run them; here nobody is asked.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from polyalign.data.packages import resolve
from polyalign.errors import InputError
from polyalign.models.sources import file_of_model

COMMIT = re.compile("[0-9a-f]{40}")
CONFIGS = ("config.json", "tokenizer_config.json")


def hashed(source: str) -> str:
    """`folder=hash` of the Python files of a local model; nothing for one on the hub."""
    folder = Path(resolve(source))
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()} {file.stat().st_size} ".encode())
        digest.update(file.read_bytes())
    return f"{source}={digest.hexdigest()[:16]}"


def check_trusted(source: str, revision: str | None, *, hub: bool = False) -> None:
    """Refuse a model whose own code is to be run but may change from day to day.

    Args:
        source: as in `polyalign.data.packages.resolve`.
        revision: of a hub model.
        hub: whether to ask the hub about a model that is not here.

    Raises:
        InputError: if a hub model has no commit, or the code is in another repository.
    """
    if not Path(resolve(source)).exists() and not COMMIT.fullmatch(revision or ""):
        raise InputError(
            f"{source}: `trust_remote_code` runs the code of a hub model, and its `revision` is "
            f"{revision!r}; expected the 40 hex digits of a commit, so that nobody else can change "
            "what is run; write it there"
        )
    for name in CONFIGS:
        for reference in _references(_read(source, name, revision, hub=hub)):
            if reference.rpartition("--")[0] not in ("", source):
                raise InputError(
                    f"{source}: its {name} takes code from another repository ({reference}), which "
                    "`revision` does not pin; expected code in its own; copy both into one folder, "
                    "and correct `auto_map` there"
                )


def check_untrusted(source: str, revision: str | None, *, hub: bool = False) -> None:
    """Refuse a classifier or encoder whose class comes with it; arguments as in `check_trusted`.

    Language models often name a class of their own beside the one that transformers has for them.

    Raises:
        InputError: if transformers has no class of that name.
    """
    config = _read(source, CONFIGS[0], revision, hub=hub)
    if not config.get("auto_map"):
        return
    try:
        import transformers
    except ImportError:
        return  # the job that loads it says so
    known = {name.lower() for name in dir(transformers)}
    own = [name for name in config.get("architectures") or () if name.lower() not in known]
    if own:
        raise InputError(refusal(source, f"its class {own[0]}"))


def refusal(source: str, what: str) -> str:
    """Why a model with code of its own is not loaded."""
    return (
        f"{source}: comes with Python code of its own ({what}), which is not run; expected a model "
        "that transformers itself has a class for; take another one, or, if it scores a value, "
        "read that code and write `trust_remote_code: true` there, with the commit as `revision` "
        "if it is a hub model"
    )


def auto_classes(source: str, revision: str | None) -> set[str]:
    """The classes of transformers that a model has code of its own for, such as `AutoModel`."""
    return {*_read(source, CONFIGS[0], revision, hub=True).get("auto_map", {})}


def _read(source: str, name: str, revision: str | None, *, hub: bool) -> dict[str, Any]:
    """A configuration file of a model; empty where there is none that can be read."""
    file = file_of_model(source, name, revision, hub=hub)
    try:
        read = json.loads(file.read_text(encoding="utf-8")) if file else {}
    except ValueError:
        return {}  # whoever loads the model says what is wrong with it
    return read if isinstance(read, dict) else {}


def _references(config: dict[str, Any]) -> list[str]:
    """The classes that `auto_map` names; that of a tokenizer may be two, and one of them empty."""
    named = [
        one
        for entry in (config.get("auto_map") or {}).values()
        for one in (entry if isinstance(entry, list) else [entry])
    ]
    return [one for one in named if one]
