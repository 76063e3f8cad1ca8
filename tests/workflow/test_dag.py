"""Dry runs, the profile, the lint, and a config with faults."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import planned, snakemake

from polyalign import provenance
from polyalign.config import Study, load
from polyalign.provenance import code


def test_the_default_study_is_planned_whole(checkout: Path) -> None:
    jobs = planned(checkout)
    config = yaml.safe_load((checkout / "config.yaml").read_text())
    assert {f"solve:{palette}" for palette in config["palettes"]} <= jobs
    assert {f"plot:{figure}" for figure in config["plots"]} <= jobs
    assert {"world", "base_model", "prompts", "train_rloo:hhh-60", "tables", "report"} <= jobs


def test_lambda_of_ones_own_waits_for_no_palette(checkout: Path) -> None:
    config = yaml.safe_load((checkout / "config.yaml").read_text())
    own = {"mine": {"humor": 1.5, "harmless": 0.5}}
    config["policies"] = {name: {"lam": own} for name in ("map-d", "token-d")}
    config |= {"palettes": {}, "plots": ["radar"]}
    (checkout / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    jobs = planned(checkout)
    assert {"decode_map_d:mine", "generate_token_d:mine:0:1", "overview", "plot:radar"} <= jobs
    assert not {job for job in jobs if job.startswith(("solve", "diagnose"))}
    assert {job for job in jobs if job.startswith("reward_model")} >= {"reward_model:humor"}


def test_the_slurm_profile_is_found_as_typed(checkout: Path) -> None:
    dry = snakemake(checkout, "--profile", "slurm", "--dry-run", "all")
    assert dry.returncode == 0, dry.stdout
    assert "rule train_rloo" in dry.stdout
    assert "gpu=1" in dry.stdout


def blocks(printed: str) -> dict[str, list[str]]:
    """Rule → what a dry run printed of each of its jobs."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"\n(?=\[)", printed):
        if name := re.search(r"^(?:local)?rule (\w+):$", block, re.MULTILINE):
            found.setdefault(name[1], []).append(block)
    return found


def imports_a_model_library(rule: str, script: str, study: Study) -> bool:
    """Whether the code of a rule's script, or of a module that it chooses, imports torch."""
    chosen = []
    if script == "annotate":
        chosen = [f"values.{spec.kind}" for spec in study.values.values()]
    if script in ("train", "decode"):
        chosen = [f"families.{rule.partition('_')[2]}"]
    files = [entry.partition("=")[0] for entry in code(script, *chosen).split()]
    texts = ((provenance.ROOT / file).read_text() for file in files)
    return any(re.search(r"^\s*(import|from) (torch|transformers)\b", t, re.M) for t in texts)


def test_rules_that_load_a_model_say_what_they_need(checkout: Path) -> None:
    """They are submitted, and each of their jobs says whether it takes a GPU; no other job does."""
    dry = snakemake(checkout, "--profile", "slurm", "--dry-run", "--printshellcmds", "all")
    study = load(checkout / "config.yaml")
    heavy = set()
    for rule, jobs in blocks(dry.stdout).items():
        script = re.search(r"scripts/(\w+)\.py", jobs[0])
        if script and imports_a_model_library(rule, script[1], study):
            heavy.add(rule)
            assert all("gpu=" in job for job in jobs), f"{rule}: add **needs({rule!r}) to its rule"
        else:
            assert not any(re.search("gpu=[1-9]", job) for job in jobs), rule
    assert {"base_model", "reward_model", "generate", "annotate", "train_rloo"} <= heavy


def test_what_needs_no_model_holds_no_gpu(checkout: Path) -> None:
    jobs = blocks(snakemake(checkout, "--profile", "slurm", "--dry-run", "all").stdout)
    for job in jobs["annotate"]:
        assert ("gpu=0" in job) == ("value=diversity" in job), job
    assert all("gpu=0" in job for job in jobs["train_soup"])
    assert all("gpu=1" in job for job in jobs["train_dpo"] + jobs["generate"])


def test_light_jobs_run_beside_the_workflow_and_others_do_not(checkout: Path) -> None:
    """Decoding is light unless its family loads a model, which its own rule finds out."""
    texts = [path.read_text() for path in (checkout / "workflow/rules").glob("*.smk")]
    bodies = [
        body for text in texts for body in re.split(r"^ *rule (?=\w+:)", text, flags=re.M)[1:]
    ]
    local = {body.partition(":")[0] for body in bodies if "localrule: True" in body}
    named = {body.partition(":")[0] for body in bodies}
    assert {"merge", "levels", "winrate", "tables", "plot", "overview"} <= local
    assert {"solve", "world", "base_model", "reward_model", "generate", "annotate"} <= named - local


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
    # Its marker shall say how many of these it held: costs are counted from that.
    assert " --gpus 2 " in line


def test_retries_are_the_profiles_alone_and_ask_for_more(checkout: Path) -> None:
    rules = "".join(path.read_text() for path in (checkout / "workflow/rules").glob("*.smk"))
    assert "retries:" not in rules + (checkout / "Snakefile").read_text()
    profile = yaml.safe_load((checkout / "profiles/slurm/config.yaml").read_text())
    assert profile["retries"] >= 1
    assert "slurm-array-jobs" not in profile
    defaults = profile["default-resources"]
    assert all("attempt" in str(defaults[name]) for name in ("attempt", "mem_mb", "runtime"))


@pytest.mark.parametrize("block", ["# set-resources:", "# groups:"])
def test_the_commented_blocks_of_the_profile_are_valid(checkout: Path, block: str) -> None:
    path = checkout / "profiles/slurm/config.yaml"
    lines = path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(block))
    end = next(i for i in range(start, len(lines) + 1) if lines[i : i + 1] in ([""], []))
    lines[start:end] = [line[2:] for line in lines[start:end]]
    path.write_text("\n".join(lines) + "\n")
    dry = snakemake(checkout, "--profile", "slurm", "--dry-run", "all")
    assert dry.returncode == 0, dry.stdout
    if block == "# groups:":
        members = len(re.findall(r"rule (?:generate|annotate):", dry.stdout))
        assert 0 < members == len(re.findall(r"resources: .*one_model=1", dry.stdout))
        assert "Group job score" in dry.stdout
    else:
        jobs = blocks(dry.stdout)
        assert all("gpu_model=a100" in job for job in jobs["generate"] + jobs["annotate"])
        assert all("gpu_model=h100" in job for job in jobs["train_dpo"])
    rules = {job.partition(":")[0] for job in planned(checkout)}
    assert set(yaml.safe_load(path.read_text()).get("set-resources", {})) <= rules


def test_targets_are_listed_with_a_sentence_each(checkout: Path) -> None:
    listed = snakemake(checkout, "--list")
    menu = dict(re.findall(r"^(\w+) \((.+)\)$", listed.stdout, re.MULTILINE))
    assert set(menu) == set(re.findall(r"^\w+", listed.stdout, re.MULTILINE)), listed.stdout
    assert all(sentence.endswith(".") for sentence in menu.values())
    assert {"all", "models", "palettes", "winrates", "plots", "report"} <= set(menu)


def test_nothing_but_common_reads_the_config(checkout: Path) -> None:
    """What reads it elsewhere may depend on keys that no job's settings have."""
    reads = re.compile(r"\bconfig(\[|\)|,|\.get\b)")
    files = {*(checkout / "workflow/rules").glob("*.smk"), checkout / "Snakefile"}
    assert [file.name for file in files if reads.search(file.read_text())] == ["common.smk"]


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
