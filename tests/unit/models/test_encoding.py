"""What a model reads, and whether it fits."""

from types import SimpleNamespace

import pytest
from transformers import BloomConfig, GPT2Config

from polyalign.errors import InputError
from polyalign.models.encoding import check_lengths, max_positions


def test_the_positions_of_a_model_are_those_of_its_configuration() -> None:
    for config, positions in ((GPT2Config(n_positions=32), 32), (BloomConfig(), None)):
        assert max_positions(SimpleNamespace(config=config)) == positions


def test_prompts_that_fit_with_a_response_pass() -> None:
    check_lengths(["a", "b"], [[1, 2], [3]], source="model", positions=5, new_tokens=3)
    check_lengths(["a"], [[1] * 99], source="model", positions=None, new_tokens=3)
    check_lengths([], [], source="model", positions=5, new_tokens=3)


def test_all_prompts_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError) as raised:
        check_lengths(
            ["a", "b", "c", "b"], [[1] * 3, [1] * 4, [1] * 2, [1] * 4], source="some/model",
            positions=5, new_tokens=3,
        )  # fmt: skip
    assert str(raised.value) == (
        "some/model: no room for a response of 3 tokens after 2 prompts of up to 4 tokens "
        "('b' (4), 'a' (3)); expected prompts of at most 2 tokens, since the model has 5 "
        "positions; write `prompts.longest: 2`, which leaves such prompts out, or lower "
        "sampling.max_new_tokens"
    )


def test_a_long_list_of_prompts_is_counted() -> None:
    with pytest.raises(InputError, match=r"25 prompts of up to 29 tokens .* and 5 more\)"):
        check_lengths(
            [f"p{n}" for n in range(30)], [[1] * n for n in range(30)], source="m",
            positions=5, new_tokens=1,
        )  # fmt: skip
