"""Functions of a user's module are found without running it."""

import ast

import pytest

from polyalign.study.functions import defined_names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def score(p, r):\n    inner = 1\n    def hidden(): ...\n", {"score"}),
        ("class Judge:\n    def __call__(self, p, r): ...\nscore = Judge()\n", {"Judge", "score"}),
        ("if True:\n    def score(): ...\nelse:\n    score, other = 1, 2\n", {"score", "other"}),
        (
            "try:\n    from fast import score\nexcept ImportError:\n    import numpy as np\n",
            {"score", "np"},
        ),
        ("with open('x') as file:\n    score = lambda p, r: hidden\n", {"file", "score"}),
        ("async def score(): ...\n", set()),
        ("from fast import *\n", None),
        ("def __getattr__(name): ...\n", None),
        ("globals()['score'] = print\n", None),
    ],
)
def test_what_may_be_a_function(source: str, names: set[str] | None) -> None:
    assert defined_names(ast.parse(source)) == names
