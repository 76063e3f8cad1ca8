"""The hash of code: what counts as an edit, and which files belong to a job."""

from pathlib import Path

import pytest

from polyalign.runtime import code
from polyalign.runtime.code import canonical, fingerprint, imported

MODULE = '''"""Scores of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    import pandas as pd

LIMIT: int = 10  # words
"""Longest text."""


class Settings(BaseModel):
    """How to score."""

    scale: float = Field(default=1.0, gt=0, description="Factor of every score.")


@dataclass(frozen=True)
class Score:
    value: float
    text: str = ""


@cache
def score(texts: Sequence[str], scale: float = 1.0) -> Any:
    """Scores (n,) of n texts."""
    found: list[float] = []
    for text in texts:
        words = text.split(" ")
        if (count := len(words)) > LIMIT:
            raise ValueError(f"{text!r:>{LIMIT}}: {count:,} words")
        found.append(scale * count + 1)
    return np.array(found)
'''


def edited(*pairs: tuple[str, str]) -> str:
    """The module with some texts replaced, each of which it has exactly once."""
    source = MODULE
    for old, new in pairs:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


SAME = {
    "docstring of the module": ("Scores of texts.", "Scores."),
    "docstring of a function": ("Scores (n,) of n texts.", "The scores."),
    "docstring of a class": ('    """How to score."""\n\n', ""),
    "docstring of a variable": ("Longest text.", "The longest text."),
    "comment": ("  # words", "  # of a text"),
    "layout": ("raise ValueError(f", "raise ValueError(\n                f"),
    "description of a field": ("Factor of every score.", "Factor."),
    "annotation of a parameter": ("texts: Sequence[str]", "texts"),
    "annotation of a result": (") -> Any:", ") -> np.ndarray:"),
    "annotation of a module's variable": ("LIMIT: int = 10", "LIMIT = 10"),
    "annotation of a local variable": ("found: list[float] = []", "found = []"),
    "annotation of a dataclass's field": ("value: float", "value: int"),
    "import for annotations": ("import TYPE_CHECKING, Any", "import TYPE_CHECKING, Any, Literal"),
    "import of annotations": ("from collections.abc import Sequence\n", ""),
    "import for type checking": ("    import pandas as pd", "    import polars as pl"),
    "no import for type checking": ("if TYPE_CHECKING:\n    import pandas as pd\n", ""),
    "annotations as texts": ("from __future__ import annotations\n", ""),
    "declaration of a variable": ("        words = ", "        words: list[str]\n        words = "),
}

OTHER = {
    "operator": ("scale * count + 1", "scale * count - 1"),
    "constant": ("count + 1", "count + 2"),
    "type of a constant": ("count + 1)", "count + 1.0)"),
    "default of a parameter": ("scale: float = 1.0)", "scale: float = 2.0)"),
    "parameter": ("texts: Sequence[str], ", "texts: Sequence[str], *, "),
    "name of a parameter": ("scale: float = 1.0)", "factor: float = 1.0)"),
    "decorator": ("@cache\n", ""),
    "argument of a decorator": ("frozen=True", "frozen=False"),
    "keyword of a field": ("gt=0", "ge=0"),
    "default of a field": ("default=1.0", "default=2.0"),
    "annotation that pydantic reads": ("scale: float = Field", "scale: int = Field"),
    "field of a class": ('    text: str = ""\n', '    text: str = ""\n    label: str = ""\n'),
    "field without a default": ("    value: float\n", "    value: float\n    key: int\n"),
    "class variable": ("    value: float", "    value: ClassVar[float]"),
    "base class": ("(BaseModel)", "(Strict)"),
    "value of a variable": ("LIMIT: int = 10", "LIMIT: int = 20"),
    "import": ("import numpy as np", "import numpy.ma as np"),
    "text": ('split(" ")', 'split("")'),
    "text of an f-string": (":,} words", ":,} tokens"),
    "format in an f-string": ("{count:,}", "{count:.1f}"),
    "width in an f-string": ("!r:>{LIMIT}", "!r:>{count}"),
    "conversion in an f-string": ("{text!r", "{text!s"),
    "name of a walrus": ("(count := len(words)) > LIMIT", "(LIMIT := len(words)) > count"),
    "statement": ("        found.append", "        break\n        found.append"),
    "line of code under the same condition": (
        "            raise ValueError",
        "            raise E",
    ),
}


@pytest.mark.parametrize("edit", SAME.values(), ids=SAME)
def test_text_for_readers_does_not_count(edit: tuple[str, str]) -> None:
    assert fingerprint(edited(edit)) == fingerprint(MODULE)


def test_all_text_for_readers_together_does_not_count() -> None:
    """Edits that include another one are left out."""
    edits = [edit for name, edit in SAME.items() if name != "no import for type checking"]
    assert fingerprint(edited(*edits)) == fingerprint(MODULE)


@pytest.mark.parametrize("edit", OTHER.values(), ids=OTHER)
def test_an_edit_of_the_code_counts(edit: tuple[str, str]) -> None:
    assert fingerprint(edited(edit)) != fingerprint(MODULE)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("match x:\n    case [1, *_]: y = 1", "match x:\n    case [2, *_]: y = 1"),
        ("match x:\n    case None: y = 1", "match x:\n    case True: y = 1"),
        ("match x:\n    case A(b=1): y = 1", "match x:\n    case A(c=1): y = 1"),
        ("match x:\n    case {'a': b}: y = b", "match x:\n    case {'a': b, **c}: y = b"),
        ("match x:\n    case a if a > 1: y = a", "match x:\n    case a: y = a"),
        ("Names: TypeAlias = list[str]", "Names: TypeAlias = list[int]"),
        ("f = lambda x=1: x", "f = lambda x=2: x"),
        ("return_ = None", "return_ = ..."),
        ("a = {**b}", "a = {None: b}"),
        ("def f(*, a, b=1): pass", "def f(*, a=1, b): pass"),
        ("a = [x async for x in y]", "a = [x for x in y]"),
        ("a = b'x'", "a = 'x'"),
        ("a = True", "a = 1"),
        ("if not TYPE_CHECKING:\n    a = 1", "if not TYPE_CHECKING:\n    a = 2"),
        ("if TYPE_CHECKING:\n    a = 1\nelse:\n    a = 2", "if TYPE_CHECKING:\n    a = 1"),
        ("from typing import Any", "from .typing import Any"),
        ("a = f'{b=}'", "a = f'{b}'"),
    ],
)
def test_syntax_that_counts(one: str, two: str) -> None:
    assert fingerprint(one) != fingerprint(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("a = f'x' f'{b}' 'y'", "a = f'x{b}y'"),
        ("a = u'x'", "a = 'x'"),
        ("a = (1)", "a = 1"),
        ("def f(x):\n    'what it does'", "def f(x: int) -> None:\n    'other words'"),
        ("f = lambda x: x  # same", "f = lambda x: x"),
        ("async def f(x: int) -> int: return x", "async def f(x): return x"),
        (
            "class A:\n    def f(self):\n        self.x: int = 1",
            "class A:\n    def f(self):\n        self.x = 1",
        ),
        (
            "class A(B):\n    if TYPE_CHECKING:\n        x: int\n    y: int = 1",
            "class A(B):\n    y: int = 1",
        ),
        (
            "x: Annotated[int, Field(gt=0, description='a')] = 1",
            "x: Annotated[int, Field(gt=1, description='b')] = 1",
        ),
        (
            "class A(B):\n    x: Annotated[int, Field(gt=0, description='a')] = 1",
            "class A(B):\n    x: Annotated[int, Field(gt=0, description='b')] = 1",
        ),
    ],
)
def test_syntax_that_does_not_count(one: str, two: str) -> None:
    assert fingerprint(one) == fingerprint(two)


def test_a_module_that_reads_docstrings_computes_with_them() -> None:
    reading = MODULE + "\nprint(score.__doc__)\n"
    assert fingerprint(reading.replace("of n texts", "of texts")) != fingerprint(reading)
    own = '"""Help."""\nprint(__doc__)\n'
    assert fingerprint(own.replace("Help", "Usage")) != fingerprint(own)


def test_the_hash_is_the_same_in_every_version_of_python() -> None:
    more = (
        "match score([]):\n"
        "    case [float(x), *_] | {'a': x}:\n"
        "        print(f'{x:{LIMIT}.2f}' 'b' f\"{x!r}{'c'}\", *y, **z)\n"
        "with a as b, (yield c): del d[1:, ...]\n"
        "try: global e\nexcept* OSError as f: raise g from h\n"
    )
    assert fingerprint(MODULE + more) == "0073f9c1fcb6"


def test_what_is_not_python_is_an_error() -> None:
    with pytest.raises(SyntaxError):
        fingerprint("def f(:")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A script, and packages that it imports in several ways."""
    files = {
        "start.py": "import used\nfrom pkg.inner import thing\n\ndef f():\n    import late\n",
        "used.py": "import json\nif TYPE_CHECKING:\n    import unused\n",
        "late.py": "x = 1\n",
        "unused.py": "x = 1\n",
        "pkg/__init__.py": "from . import beside\n",
        "pkg/beside.py": "x = 1\n",
        "pkg/other.py": "x = 1\n",
        "pkg/inner/__init__.py": "",
        "pkg/inner/thing.py": "from ..deep.below import name\nfrom .near import *\n",
        "pkg/inner/near.py": "from .. import inner\n",
        "pkg/deep/below.py": "name = 1\n",
        "pkg/deep/unused.py": "name = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


USED = [
    *("late.py", "pkg/__init__.py", "pkg/beside.py", "pkg/deep/below.py", "pkg/inner/__init__.py"),
    *("pkg/inner/near.py", "pkg/inner/thing.py", "start.py", "used.py"),
]


def names(text: str) -> list[str]:
    return [entry.partition("=")[0] for entry in text.split()]


def test_all_modules_that_are_imported_count_and_no_others(root: Path) -> None:
    """In functions, by relative names, through packages; a folder without __init__ is a package."""
    assert names(imported(root, root / "start.py")) == USED


@pytest.mark.parametrize("name", USED)
def test_an_edit_of_an_imported_module_changes_the_text(
    root: Path, tmp_path: Path, name: str
) -> None:
    before = imported(root, root / "start.py")
    copy = tmp_path / "copy"
    for file in sorted(root.rglob("*.py")):
        target = copy / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.read_text() + ("\nedited = 1\n" if file == root / name else ""))
    after = imported(copy, copy / "start.py")
    changed = [one for one, two in zip(before.split(), after.split(), strict=True) if one != two]
    assert names(" ".join(changed)) == [name]


def test_how_a_job_runs_and_the_version_are_left_out(tmp_path: Path) -> None:
    files = {
        "scripts/stage.py": "from polyalign.runtime.job import run\nfrom polyalign import maths\n",
        "polyalign/__init__.py": "__version__ = '1'\n",
        "polyalign/runtime/__init__.py": "",
        "polyalign/runtime/job.py": "import polyalign.errors\n",
        "polyalign/errors.py": "",
        "polyalign/maths.py": "",
        "polyalign/chosen.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = imported(tmp_path, tmp_path / "scripts/stage.py")
    assert names(found) == ["polyalign/maths.py", "scripts/stage.py"]


def test_a_stage_runs_its_script_and_the_modules_that_its_settings_choose() -> None:
    alone, chosen = code.code("annotate"), code.code("annotate", "polyalign.rewards.kinds.column")
    assert "scripts/annotate.py" in names(alone)
    assert set(names(chosen)) - set(names(alone)) >= {"polyalign/rewards/kinds/column.py"}
    for name in names(chosen):
        assert name.startswith(("scripts/", "polyalign/"))
        assert not name.startswith(("polyalign/runtime/", "polyalign/plan/", "polyalign/study/"))
    assert names(code.module_code("polyalign.errors")) == ["polyalign/errors.py"]


def test_equal_settings_are_equal_text() -> None:
    assert canonical({"b": 1, "a": [1.5, None]}) == canonical({"a": [1.5, None], "b": 1})
    assert canonical({"a": 1, "b": 2}) != canonical({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})
