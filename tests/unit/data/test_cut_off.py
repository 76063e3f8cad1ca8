"""Responses that the token limit ended are counted, and many of them are warned of."""

import math

import pandas as pd
import pytest

from polyalign.data.cut_off import cut_share, cut_warning, whole_sentences


@pytest.mark.parametrize("cells", [[True, False, True, True], [1, 0, 1, 1], [1.0, 0.0, 1.0, 1.0]])
def test_the_share_is_that_of_the_column(cells: list[float]) -> None:
    assert cut_share(pd.DataFrame({"truncated": cells})) == 0.75


def test_a_table_that_does_not_say_has_no_share() -> None:
    assert math.isnan(cut_share(pd.DataFrame({"response": ["a"]})))
    assert math.isnan(cut_share(pd.DataFrame({"truncated": []})))


def test_a_fifth_is_many() -> None:
    assert cut_warning({"a": 0.19, "b": math.nan}) is None
    assert cut_warning({"a": 0.2, "b": 0.97, "c": 0.1}) == (
        "cut off: the token limit ended 20% of a, 97% of b; their rewards are those of unfinished "
        "texts: raise sampling.max_new_tokens"
    )


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("One is here. Two is n", "One is here."),
        ("Is it? It is! And th", "Is it? It is!"),
        ('He said "no." Then h', 'He said "no."'),
        ("It cost 3.50 and m", "It cost 3.50 and m"),
        ("It is so.", "It is so."),
        ("First do it.\n2. Then d", "First do it."),
        ("First do it.\n2.", "First do it."),
        ("1. Wait. (2. Go o", "1. Wait."),
        ("今日は。明日", "今日は。"),
        ("Well... I", "Well..."),
        ("no end", "no end"),
        ("One is here. It was in 1999. Then h", "One is here. It was in 1999."),
        ("It was in 1999. Then h", "It was in 1999."),
        ("", ""),
    ],
)
def test_a_text_ends_with_its_last_whole_sentence(text: str, whole: str) -> None:
    assert whole_sentences(text) == whole
    assert whole_sentences(whole) == whole
