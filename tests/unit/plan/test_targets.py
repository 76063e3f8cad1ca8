"""Targets that a study does not have are named with what to type instead."""

import pytest

from polyalign.plan.targets import known_files, unknown_targets
from polyalign.study import Study, load

RULES = {"all", "models", "palettes", "plots", "report", "winrates", "prompts"}


@pytest.fixture
def study(text: str, write) -> Study:
    return load(write(text))


def told(study: Study, *targets: str) -> list[str]:
    return unknown_targets(
        study, ["my.yaml"], targets, RULES, lambda path: path.startswith("results/small/policies/")
    )


def test_targets_that_are_there(study: Study) -> None:
    files = list(known_files(study))
    assert "results/small/plots/radar.pdf" in files
    assert "results/small/plots/portrait/rloo/funny.png" in files
    assert "results/small/models/reward/humor.json" in files
    assert "results/small/palettes/funny.json" in files
    assert told(study, *RULES, *files, "data/humor.csv") == []
    assert told(study, "results/small/policies/base/pool/shards/samples_0-of-2.parquet") == []
    assert told(study, "results/small/policies/dpo/beta-0.1_mostly/levels.csv") == []


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("plotz", "expected all, models, palettes, plots, report, winrates, or a file below"),
        ("plotz", "write 'plots'"),
        ("results/mine/plots/radar.pdf", "name its config, after the target: `snakemake --cores 2"),
        ("results/small/plots/radr.pdf", "write 'results/small/plots/radar.pdf'"),
        ("results/small/plots/portrait/rloo/fany.pdf", "no policy 'rloo/fany' (it has base/base"),
        ("results/small/plots/portrait/rloo/fany.pdf", "plots/portrait/rloo/funny.pdf'"),
        ("results/small/models/dpo/beta-0.1_most.json", "no model 'dpo/beta-0.1_most' (it has"),
        ("results/small/models/dpo/beta-0.1_most.json", "write 'results/small/models/dpo/beta-"),
        ("results/small/models/rloo/nosuch", "no model 'rloo/nosuch'"),
        ("results/small/models/map-d/funny", "no model 'map-d/funny'"),
        ("results/small/policies/rloo/plain/levels.csv", "no policy 'rloo/plain'"),
        ("results/small/palettes/lam/funy.json", "no palette 'funy' (it has funny, plain)"),
        ("other.yaml", "`snakemake --cores 2 TARGET --configfile other.yaml`, or `polyalign run"),
    ],
)
def test_a_target_that_is_not_there(study: Study, target: str, says: str) -> None:
    (fault,) = told(study, "all", target)
    assert fault.startswith(f"no target '{target}': the study that was read is 'small' (my.yaml); ")
    assert says in fault
