"""A killed job continues from its checkpoints if nothing that it depends on has changed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = """
from polyalign.runtime.job import run

def main(job, *, beta):
    job.work.mkdir(parents=True, exist_ok=True)
    kept = job.work / "checkpoint"
    begun = int(kept.read_text()) if kept.exists() else 0
    for step in range(begun + 1, 5):
        kept.write_text(str(step))
        if KILLED_AT == step:
            raise MemoryError
    job.outputs["out"].write_text(f"{begun} to {step}")

run(main)
"""


class Study:
    """A training with the same kinds of inputs as one of the workflow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made_from = "settings and code"
        (folder / "training.py").write_text(TRAINING)
        (folder / "lam.json").write_text('{"lam": [1, 2]}')
        (folder / "base").mkdir()
        (folder / "base/model.safetensors").write_text("weights")
        (folder / "base.json").write_text("hash of the weights")
        (folder / "own").mkdir()
        (folder / "own/model.safetensors").write_text("other weights")

    def train(self, killed: int = 0, beta: float = 1.0) -> bool:
        """Train until step `killed` (0: to the end); return whether the model is written."""
        # The step at which a job is killed is not one of its settings.
        script = TRAINING.replace("KILLED_AT", str(killed))
        (self.folder / "training.py").write_text(script)
        inputs = ("palette=lam.json", "base=base.json", "base=base", "model=own")
        command = [
            *(sys.executable, "training.py", "--settings", json.dumps({"beta": beta})),
            *("--input", *inputs, "--output", "out=out", "--log", "logs/job.log"),
            *("--work", "work/rloo-hhh", "--made-from", self.made_from),
        ]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
        return done.returncode == 0

    @property
    def made(self) -> str:
        return (self.folder / "out").read_text()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(tmp_path)
    assert not made.train(killed=2)
    assert len(list((tmp_path / "work/rloo-hhh").iterdir())) == 1
    return made


def test_nothing_changed(study: Study) -> None:
    (study.folder / "lam.json").touch()
    assert study.train()
    assert study.made == "2 to 4"
    assert "training restarts" not in (study.folder / "logs/job.log").read_text()


@pytest.mark.parametrize("name", ["lam.json", "base.json", "own/model.safetensors"])
def test_another_input(study: Study, name: str) -> None:
    (study.folder / name).write_text("other")
    assert study.train()
    assert study.made == "0 to 4"
    assert "training restarts" in (study.folder / "logs/job.log").read_text()


def test_other_settings_or_code(study: Study) -> None:
    study.made_from = "other"
    assert study.train()
    assert study.made == "0 to 4"


def test_other_settings_that_make_the_same(study: Study) -> None:
    assert study.train(beta=2.0)
    assert study.made == "2 to 4"


def test_a_manifest_represents_its_folder(study: Study) -> None:
    """The manifest of a rebuilt model that is the same is equal, so its weights are not read."""
    (study.folder / "base/model.safetensors").write_text("not read")
    assert study.train()
    assert study.made == "2 to 4"


def test_a_change_that_is_reverted(study: Study) -> None:
    """All checkpoints are kept until the model is written; then all are removed."""
    before = (study.folder / "lam.json").read_text()
    (study.folder / "lam.json").write_text("other")
    assert not study.train(killed=3)
    (study.folder / "lam.json").write_text(before)
    assert study.train()
    assert study.made == "2 to 4"
    assert not (study.folder / "work/rloo-hhh").exists()
