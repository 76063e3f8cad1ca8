"""Config, changes and targets of a study, in any order on the command line."""

import pytest

from polyalign.cli.arguments import load_study, read_words
from polyalign.errors import InputError
from polyalign.plan.calls import Given


@pytest.mark.parametrize(
    ("words", "config", "given", "targets"),
    [
        ([], None, Given("config.yaml", []), []),
        (["my.yaml", "all"], None, Given("my.yaml", []), ["all"]),
        (["plots", "my.yml", "seed=2"], None, Given("my.yml", ["seed=2"]), ["plots"]),
        (["palettes"], "my.json", Given("my.json", []), ["palettes"]),
        (["results/a/config.json"], None, Given("config.yaml", []), ["results/a/config.json"]),
    ],
)
def test_words(words: list[str], config: str | None, given: Given, targets: list[str]) -> None:
    assert read_words(words, config) == (given, targets)


def test_two_configs_are_refused() -> None:
    with pytest.raises(InputError, match=r"two configs are named: a\.yaml, b\.yaml"):
        read_words(["b.yaml"], "a.yaml")


def test_changes_are_those_of_snakemake(text: str, write) -> None:
    changes = ["seed=7", "study=other", "map={scope: joint}"]
    study = load_study(Given(write(text.replace("results/small", "results/other")), changes))
    assert (study.seed, study.study, study.map.scope) == (7, "other", "joint")
    with pytest.raises(InputError, match="expected `key=value`"):
        load_study(Given(write(text), ["1=2"]))
