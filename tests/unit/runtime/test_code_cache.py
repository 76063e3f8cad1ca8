"""What is known of source files from earlier runs is what would be found out anew."""

import json
from pathlib import Path

import pytest

from polyalign.runtime import code, code_cache
from polyalign.runtime.code import imported


@pytest.fixture
def new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Forgets all but the cache folder, as a new process would."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def forget() -> None:
        for memory in (code_cache._entries, code._facts, code._this_module):
            memory.cache_clear()

    forget()
    yield forget
    forget()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name, text in {
        "start.py": "from pkg.used import name\n",
        "pkg/__init__.py": "",
        "pkg/used.py": "from . import beside\nname = 1\n",
        "pkg/beside.py": "",
        "beside.py": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources whose syntax is read."""
    sources: list[str] = []
    original = code.computed_tree
    monkeypatch.setattr(code, "computed_tree", lambda text: sources.append(text) or original(text))
    return sources


def test_only_what_changed_is_read_again(new_process, root: Path, read: list[str]) -> None:  # type: ignore[no-untyped-def]
    before = imported(root, root / "start.py")
    assert len(read) == 4
    new_process()
    assert imported(root, root / "start.py") == before
    assert len(read) == 4
    new_process()
    (root / "pkg/used.py").write_text("from . import beside\nname = 2\n")
    after = imported(root, root / "start.py")
    assert read[4:] == ["from . import beside\nname = 2\n"]
    changed = set(before.split()) ^ set(after.split())
    assert {entry.partition("=")[0] for entry in changed} == {"pkg/used.py"}


def test_the_same_text_elsewhere_imports_other_files(new_process, root: Path) -> None:  # type: ignore[no-untyped-def]
    imported(root, root / "start.py")
    new_process()
    (root / "other").mkdir()
    (root / "other/used.py").write_text((root / "pkg/used.py").read_text())
    (root / "other/beside.py").write_text("")
    found = imported(root, root / "other/used.py")
    assert [entry.partition("=")[0] for entry in found.split()] == [
        "other/beside.py",
        "other/used.py",
    ]


def test_other_rules_read_everything_again(  # type: ignore[no-untyped-def]
    new_process, root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(root, root / "start.py")
    new_process()
    monkeypatch.setattr(code, "_this_module", lambda: "edited")
    imported(root, root / "start.py")
    assert len(read) == 8
    monkeypatch.undo()


@pytest.mark.parametrize("damage", ["{", "[]", "a folder", "no folder can be made"])
def test_without_a_cache_all_is_found_out_anew(  # type: ignore[no-untyped-def]
    new_process, root: Path, tmp_path: Path, read: list[str], damage: str
) -> None:
    before = imported(root, root / "start.py")
    file = tmp_path / "cache/polyalign/code.json"
    file.unlink()
    if damage == "a folder":
        (file / "full").mkdir(parents=True)
    elif damage == "no folder can be made":
        file.parent.rmdir()
        file.parent.write_text("")
    else:
        file.write_text(damage)
    new_process()
    assert imported(root, root / "start.py") == before
    assert len(read) == 8


def test_the_latest_entries_stay(  # type: ignore[no-untyped-def]
    new_process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_cache, "MOST", 3)
    for number in range(5):
        code_cache.keep(str(number), number)
    code_cache.save()
    kept = json.loads((tmp_path / "cache/polyalign/code.json").read_text())
    assert kept == {"2": 2, "3": 3, "4": 4}
    new_process()
    assert [code_cache.recall(str(number)) for number in range(5)] == [None, None, 2, 3, 4]
