"""Names of the config are those of folders, and of repositories on the hub."""

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from pydantic import TypeAdapter, ValidationError

from polyalign.families import dpo
from polyalign.settings import Name

NAME = TypeAdapter(Name)


def repositories(name: str) -> list[str]:
    """What docs/training.md calls the models of a palette, a reward model and a mixture."""
    settings = dpo.Settings(beta=[1.23456789e-05, 0.1], mixtures={"mine": {"data": 1.0}})
    mixed = [policy.variant.replace("mine", name) for policy in dpo.policies(settings)]
    return [f"you/{made}" for made in (f"reward-{name}", *(f"dpo-{variant}" for variant in mixed))]


@pytest.mark.parametrize(
    "name",
    ["a", "7", "_", "hhh-60", "harmless_0.9", "beta-1e-05_x", "a.b-c_d", "x.gita", "git", "n" * 74],
)
def test_a_name_makes_names_of_repositories(name: str) -> None:
    assert NAME.validate_python(name) == name
    for repository in (name, *repositories(name)):
        validate_repo_id(repository)


@pytest.mark.parametrize(
    "name", ["-x", "a-", "a--b", "a..b", "x.", ".x", "x.git", "", "a b", "a/b", "a\n", "n" * 97]
)
def test_what_the_hub_refuses_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError, match="cannot name a folder"):
        NAME.validate_python(name)
    with pytest.raises(HFValidationError):  # noqa: PT012
        for repository in (f"you/{name}", *repositories(name)):
            validate_repo_id(repository)
