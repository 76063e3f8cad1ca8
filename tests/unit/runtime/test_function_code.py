"""What one function of the user computes: which edits of its files count."""

from pathlib import Path

import pytest

from polyalign.runtime.function_code import function_code

FILES = {
    "mine.py": '''
"""My rewards."""

import os, re
from collections.abc import Sequence
from dataclasses import dataclass

import helper
from package.parts import weight as scale, unused_weight
from package.sub import leaf

WORDS = ["please"]
PATTERN = re.compile("thanks")
OTHER = ["no"]
first, second = 1, 2
total = 0
total += 5


@dataclass
class Rule:
    word: str
    gain: float = 1.0


class Base:
    low = 1


class Heavy(Base):
    pass


def count(text: str) -> int:
    """Words of a text."""
    return sum(word in text for word in WORDS) + total


def polite(prompts, responses):
    # One number per response.
    from package import late

    return [scale * count(text) + Rule(text).gain + late.delta + first for text in responses]


def rude(prompts, responses):
    return [len(PATTERN.findall(text)) + helper.factor for text in responses]


def heavy(prompts, responses):
    return [Heavy().low + leaf.size for _ in responses]


if __name__ == "__main__":
    print(polite(["a"], ["b"]))
''',
    "helper.py": "factor = 2\nother = 3\n",
    "package/__init__.py": "",
    "package/parts.py": "from .deep import half\nweight = half * 4\nunused_weight = 7\n",
    "package/deep.py": "half = 0.5\nquarter = 0.25\n",
    "package/late.py": "delta = 1\n",
    "package/sub/__init__.py": "",
    "package/sub/leaf.py": "size = 9\n",
    "unrelated.py": "x = 1\n",
}


def hashes(folder: Path, changed: dict[str, str] | None = None) -> dict[str, str]:
    """Function → its code, with some of the files changed."""
    for name, text in {**FILES, **(changed or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    function_code.cache_clear()
    functions = ("polite", "rude", "heavy")
    return {name: function_code(folder, folder / "mine.py", name) for name in functions}


EDITS = {
    "a comment": ("mine.py", "# One number", "# A number", ""),
    "a docstring": ("mine.py", "Words of a text.", "How many words.", ""),
    "the module's docstring": ("mine.py", '"""My rewards."""', "", ""),
    "what runs as a program": ("mine.py", 'print(polite(["a"]', 'print(polite(["z"]', ""),
    "a name that nobody uses": ("mine.py", 'OTHER = ["no"]', 'OTHER = ["yes"]', ""),
    "an import that nobody uses": ("mine.py", "import os, re", "import re", ""),
    "the function": ("mine.py", "+ first for", "+ second for", "polite"),
    "a constant": ("mine.py", '["please"]', '["Please"]', "polite"),
    "a function that it calls": ("mine.py", "sum(word in", "max(word in", "polite"),
    "one of two names": ("mine.py", "first, second = 1, 2", "first, second = 3, 2", "polite"),
    "a second assignment": ("mine.py", "total += 5", "total += 6", "polite"),
    "a class": ("mine.py", "gain: float = 1.0", "gain: float = 2.0", "polite"),
    "a base class": ("mine.py", "low = 1", "low = 2", "heavy"),
    "another function": ("mine.py", "len(PATTERN", "3 * len(PATTERN", "rude"),
    "what that one uses": ("mine.py", '"thanks"', '"thank you"', "rude"),
    "a module that is used as such": ("helper.py", "other = 3", "other = 4", "rude"),
    "a name of another module": ("package/parts.py", "half * 4", "half * 5", "polite"),
    "another name of that module": (
        "package/parts.py",
        "unused_weight = 7",
        "unused_weight = 8",
        "",
    ),
    "a name at the end of a chain": ("package/deep.py", "half = 0.5", "half = 0.6", "polite"),
    "another name there": ("package/deep.py", "quarter = 0.25", "quarter = 0.2", ""),
    "what is imported late": ("package/late.py", "delta = 1", "delta = 2", "polite"),
    "a module from a package": ("package/sub/leaf.py", "size = 9", "size = 8", "heavy"),
    "a file that nobody imports": ("unrelated.py", "x = 1", "x = 2", ""),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_changes_the_functions_that_use_it(
    tmp_path: Path, edit: tuple[str, str, str, str]
) -> None:
    file, old, new, who = edit
    before = hashes(tmp_path)
    assert FILES[file].count(old) == 1
    after = hashes(tmp_path, {file: FILES[file].replace(old, new)})
    assert " ".join(name for name in before if before[name] != after[name]) == who


ACTS = {
    "a call": "random.seed({})",
    "an item": "WORDS[0] = 'x{}'",
    "an attribute": "helper.factor = {}",
    "a loop": "for i in range({}):\n    pass",
    "a condition": "if {}:\n    pass",
    "an import that may fail": "try:\n    import torch{}\nexcept ImportError:\n    torch = None",
    "a decorator of unknown effect": "@register\ndef _entered():\n    return {}",
    "a result that nobody wants": "_ = act({})",
    "all names of a module": "from package.star{} import *",
}


@pytest.mark.parametrize("line", ACTS.values(), ids=ACTS)
def test_what_a_module_does_when_it_is_imported_counts_for_all(tmp_path: Path, line: str) -> None:
    one, two = (
        hashes(tmp_path, {"mine.py": f"{FILES['mine.py']}\n{line.format(number)}\n"})
        for number in (1, 2)
    )
    assert all(one[name] != two[name] for name in one)


@pytest.mark.parametrize(
    "use", ["globals()[text]", "eval(text)", "vars()[text]", "getattr(sys.modules['mine'], text)"]
)
def test_a_module_that_looks_names_up_counts_whole(tmp_path: Path, use: str) -> None:
    mine = f"{FILES['mine.py']}\ndef looked_up(text):\n    return {use}\n"
    one = hashes(tmp_path, {"mine.py": mine})
    two = hashes(tmp_path, {"mine.py": mine.replace('OTHER = ["no"]', 'OTHER = ["yes"]')})
    assert all(one[name] != two[name] for name in one)


def test_a_name_written_as_text_is_used(tmp_path: Path) -> None:
    mine = FILES["mine.py"].replace("+ first for", "+ getattr(me, 'OTHER') for")
    one = hashes(tmp_path, {"mine.py": mine})
    two = hashes(tmp_path, {"mine.py": mine.replace('OTHER = ["no"]', 'OTHER = ["yes"]')})
    assert [name for name in one if one[name] != two[name]] == ["polite"]


def test_what_an_imported_module_does_counts_though_nothing_of_it_is_used(tmp_path: Path) -> None:
    one, two = (
        hashes(tmp_path, {"package/parts.py": f"{FILES['package/parts.py']}setup({number})\n"})
        for number in (1, 2)
    )
    assert all(one[name] != two[name] for name in one)


def test_a_name_that_its_module_does_not_bind_needs_the_whole_module(tmp_path: Path) -> None:
    parts = "def __getattr__(name):\n    return {}\n"
    one, two = (hashes(tmp_path, {"package/parts.py": parts.format(n)}) for n in (1, 2))
    assert one["polite"] != two["polite"]


def test_the_files_that_count_are_named(tmp_path: Path) -> None:
    found = hashes(tmp_path)["polite"].split()
    assert [entry.partition("=")[0] for entry in found] == [
        *("mine.py", "package/deep.py", "package/late.py", "package/parts.py"),
    ]


def test_what_is_not_python_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError):
        hashes(tmp_path, {"mine.py": "def polite(:"})
