"""What a model reads, and whether it fits."""

from types import SimpleNamespace

import pytest

from polyalign.errors import InputError
from polyalign.models.encoding import check_lengths, max_positions


def test_the_positions_of_a_model_are_those_of_its_configuration() -> None:
    config = SimpleNamespace(max_position_embeddings=32)
    assert max_positions(SimpleNamespace(config=config)) == 32
    assert max_positions(SimpleNamespace(config=SimpleNamespace())) is None


def test_prompts_that_fit_with_a_response_pass() -> None:
    check_lengths(["a", "b"], [[1, 2], [3]], source="model", positions=5, new_tokens=3)
    check_lengths(["a"], [[1] * 99], source="model", positions=None, new_tokens=3)
    check_lengths([], [], source="model", positions=5, new_tokens=3)


def test_the_longest_prompt_that_does_not_fit_is_named() -> None:
    message = (
        "some/model: prompt 'b' has 4 tokens, which with a response of 3 exceeds the model's 5 "
        "positions; expected room for both; shorten or leave out such prompts"
    )
    with pytest.raises(InputError, match=message):
        check_lengths(
            ["a", "b"], [[1, 2, 3], [1, 2, 3, 4]], source="some/model", positions=5, new_tokens=3
        )
