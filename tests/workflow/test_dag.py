"""Dry runs, the profile, the lint, and a config with faults."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import planned, snakemake


def test_the_default_study_is_planned_whole(checkout: Path) -> None:
    jobs = planned(checkout)
    config = yaml.safe_load((checkout / "config.yaml").read_text())
    assert {f"solve:{palette}" for palette in config["palettes"]} <= jobs
    assert {f"plot:{figure}" for figure in config["plots"]} <= jobs
    assert {"world", "base_model", "prompts", "train_rloo:hhh-60", "tables", "report"} <= jobs


def test_the_slurm_profile_is_found_as_typed(checkout: Path) -> None:
    dry = snakemake(checkout, "--profile", "slurm", "--dry-run", "all")
    assert dry.returncode == 0, dry.stdout
    assert "rule train_rloo" in dry.stdout
    assert "gpu=1" in dry.stdout


def test_a_trainer_with_several_gpus_is_started_once_a_gpu(checkout: Path) -> None:
    dry = snakemake(
        checkout, "--dry-run", "--printshellcmds", "--cores", "2",
        "--set-resources", "train_rloo:gpu=2", "train_ppo:gpu=1", "--", "models",
    )  # fmt: skip
    assert dry.returncode == 0, dry.stdout
    started = [line for line in dry.stdout.splitlines() if "scripts/train.py" in line]
    launched = [line for line in started if "torch.distributed.run" in line]
    assert len(started) == 6
    (line,) = launched
    assert "torch.distributed.run --standalone --nproc_per_node 2 " in line
    assert '"family": "rloo"' in line


def test_the_profile_names_only_rules_that_exist(checkout: Path) -> None:
    profile = yaml.safe_load((checkout / "profiles/slurm/config.yaml").read_text())
    rules = {job.partition(":")[0] for job in planned(checkout)}
    assert set(profile["set-resources"]) <= rules


def test_targets_are_listed_with_a_sentence_each(checkout: Path) -> None:
    listed = snakemake(checkout, "--list")
    for target in ("all", "models", "palettes", "winrates", "plots", "report"):
        lines = listed.stdout.splitlines()
        assert any(line.split(" ")[0].rstrip(":") == target for line in lines), listed.stdout


def test_a_dry_run_imports_no_model_library() -> None:
    probe = (
        "import sys\n"
        "sys.argv = ['snakemake', '-n', '--cores', '1', '--quiet', 'all', '--', 'all']\n"
        "from snakemake.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr + run.stdout


def test_a_config_with_faults_stops_before_the_first_job(checkout: Path) -> None:
    config = checkout / "config.yaml"
    config.write_text(config.read_text().replace("temperature: 1.0", "temprature: 1.0"))
    dry = snakemake(checkout, "--dry-run", "--cores", "1", "all")
    assert dry.returncode != 0
    assert "config.yaml:" in dry.stdout
    assert "temprature" in dry.stdout
    assert "temperature" in dry.stdout
    assert "Traceback" not in dry.stdout


def test_a_study_given_on_the_command_line_stands_alone(checkout: Path) -> None:
    jobs = planned(checkout, "--configfile", "configs/scores-only.yaml", "--", "all")
    assert "import_rewards" in jobs
    assert not {job for job in jobs if job.startswith(("world", "generate", "annotate", "train"))}


@pytest.mark.parametrize("target", ["results/sandbox/plots/radar.pdf", "palettes", "models"])
def test_targets_can_be_asked_for_by_name(checkout: Path, target: str) -> None:
    dry = snakemake(checkout, "--dry-run", "--cores", "1", target)
    assert dry.returncode == 0, dry.stdout
