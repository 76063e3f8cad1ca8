"""Somebody else's Snakefile uses this workflow as a module: `module … use rule * from …`."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY, copy_checkout, planned, snakemake

STUDY = {
    "study": "mine",
    "rewards": "data/scores.csv",
    "values": {"humor": {"kind": "column"}, "helpful": {"kind": "column"}},
    "palettes": {
        "both": {"humor": "q60", "helpful": "q60"},
        "too-much": {"humor": "max", "helpful": "max"},
    },
    "policies": {"map-d": {"palettes": ["both", "too-much"]}},
    "plots": [],
}
SNAKEFILE = """
configfile: "config.yaml"

module polyalign:
    snakefile: "tools/polyalign/Snakefile"
    config: config["alignment"]
{prefix}
use rule * from polyalign as aligned_*

use rule palettes from polyalign as all_lambdas

rule lambdas:
    input: "results/mine/palettes/both.json", "results/mine/tables/summary.csv", polyalign.VERDICTS
    output: "lambdas.json"
    default_target: True
    params: own=config["own"]
    shell: "cp {{input[0]}} {{output}}; echo {{params.own}} $PYTHONPATH > own.txt"
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workflow that has a checkout of this one among its tools."""
    copy_checkout(tmp_path / "tools/polyalign")
    (tmp_path / "data").mkdir()
    shutil.copy(REPOSITORY / "configs/data/sandbox-rewards.csv", tmp_path / "data/scores.csv")
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(prefix=""))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"own": "mine", "alignment": STUDY}))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    return tmp_path


def test_a_foreign_workflow_runs_a_study(foreign: Path) -> None:
    """With a palette that has no solution, which a checkpoint finds out."""
    done = snakemake(foreign, "--cores", "2")
    assert done.returncode == 0, done.stdout
    solved = json.loads((foreign / "lambdas.json").read_text())
    assert solved["verdict"] == "supported"
    summary = pd.read_csv(foreign / "results/mine/tables/summary.csv")
    assert set(summary["variant"]) == {"base", "both"}
    own, path = (foreign / "own.txt").read_text().split()
    assert own == "mine"
    assert path.split(":") == [f"{foreign}/tools/polyalign/workflow", f"{foreign}/own"]
    assert planned(foreign) == set()


def test_paths_with_a_prefix_are_refused(foreign: Path) -> None:
    (foreign / "Snakefile").write_text(SNAKEFILE.format(prefix='    prefix: "aligned"\n'))
    done = snakemake(foreign, "--cores", "1", "--dry-run")
    assert done.returncode != 0
    assert "expected the module without `prefix`" in done.stdout


def test_faults_of_the_config_name_their_keys(foreign: Path) -> None:
    config = {"own": "mine", "alignment": {**STUDY, "palettes": {"both": {"humour": "q60"}}}}
    (foreign / "config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(foreign, "--cores", "1", "--dry-run")
    assert done.returncode != 0
    assert "palettes.both" in done.stdout
    assert "write 'humor'" in done.stdout


def test_the_catalog_entry_names_what_is_there() -> None:
    """As the Snakemake workflow catalog reads it."""
    entry = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())
    for flag in entry["usage"]["mandatory-flags"].get("flags", "").split():
        assert flag.startswith("--")
    assert set(entry["usage"]["software-stack-deployment"]) <= {"conda", "apptainer"}
    assert (REPOSITORY / "Snakefile").is_file()
