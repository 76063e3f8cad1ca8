"""Dry runs, the profile, the lint, and a config with faults."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, blocks, jobs, planned, snakemake

from polyalign.families import family
from polyalign.runtime.code import ROOT, code
from polyalign.study import Study, load

Plan = Callable[..., str]
PLAIN = ("--cores", "2", "--")
SLURM = ("--profile", "slurm", "--")


def test_the_default_study_is_planned_whole(plan: Plan) -> None:
    found = jobs(plan(*PLAIN, "all"))
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    assert {f"solve:{palette}" for palette in config["palettes"]} <= found
    assert {f"plot:{figure}" for figure in config["plots"]} <= found
    assert {"world", "base_model", "prompts", "train_rloo:hhh-60", "tables", "report"} <= found


def test_lambda_of_ones_own_waits_for_no_palette(checkout: Path) -> None:
    config = yaml.safe_load((checkout / "config.yaml").read_text())
    own = {"mine": {"humor": 1.5, "harmless": 0.5}}
    config["policies"] = {name: {"lam": own} for name in ("map-d", "token-d")}
    config |= {"palettes": {}, "plots": ["heat_map"]}
    (checkout / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    found = planned(checkout)
    assert {"decode_map_d:mine", "generate_token_d:mine:0:1", "overview", "plot:heat_map"} <= found
    assert not {job for job in found if job.startswith(("solve", "diagnose"))}
    assert {job for job in found if job.startswith("reward_model")} >= {"reward_model:humor"}


def test_the_slurm_profile_is_found_as_typed(plan: Plan) -> None:
    printed = plan(*SLURM, "all")
    assert "rule train_rloo" in printed
    assert "gpu=1" in printed


def imports_a_model_library(rule: str, script: str, study: Study) -> bool:
    """Whether the code of a rule's script, or of a module that it chooses, imports torch."""
    chosen = []
    if script == "annotate":
        chosen = [f"polyalign.rewards.kinds.{spec.kind}" for spec in study.values.values()]
    if script in ("train", "decode"):
        chosen = [family(rule.partition("_")[2].replace("_", "-")).module]
    files = [entry.partition("=")[0] for entry in code(script, *chosen).split()]
    texts = ((ROOT / file).read_text() for file in files)
    return any(re.search(r"^\s*(import|from) (torch|transformers)\b", t, re.M) for t in texts)


def test_rules_that_load_a_model_say_what_they_need(plan: Plan) -> None:
    """They are submitted, and each of their jobs says whether it takes a GPU; no other job does."""
    study = load(REPOSITORY / "config.yaml")
    heavy = set()
    for rule, found in blocks(plan(*SLURM, "all")).items():
        script = re.search(r"scripts/(\w+)\.py", found[0])
        if script and imports_a_model_library(rule, script[1], study):
            heavy.add(rule)
            assert all("gpu=" in job for job in found), f"{rule}: add **needs({rule!r}) to its rule"
        else:
            assert not any(re.search("gpu=[1-9]", job) for job in found), rule
    assert {"base_model", "reward_model", "generate", "annotate", "train_rloo"} <= heavy


def test_what_needs_no_model_holds_no_gpu(plan: Plan) -> None:
    found = blocks(plan(*SLURM, "all"))
    for job in found["annotate"]:
        assert ("gpu=0" in job) == ("value=diversity" in job), job
    assert all("gpu=0" in job for job in found["train_soup"])
    assert all("gpu=1" in job for job in found["train_dpo"] + found["generate"])


def test_light_jobs_run_beside_the_workflow_and_others_do_not() -> None:
    """Decoding is light unless its family loads a model, which its own rule finds out."""
    texts = [path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk")]
    bodies = [
        body
        for text in texts
        for body in re.split(r"^ *(?:rule|checkpoint) (?=\w+:)", text, flags=re.M)[1:]
    ]
    local = {body.partition(":")[0] for body in bodies if "localrule: True" in body}
    named = {body.partition(":")[0] for body in bodies}
    assert {"merge", "solve", "levels", "winrate", "tables", "plot", "overview"} <= local
    assert {
        "diagnose",
        "world",
        "base_model",
        "reward_model",
        "generate",
        "annotate",
    } <= named - local


def test_a_trainer_with_several_gpus_is_started_once_per_gpu(plan: Plan) -> None:
    gpus = ("train_rloo:gpu=2", "train_ppo:gpu=1")
    printed = plan("--cores", "2", "--set-resources", *gpus, "--", "models")
    started = [line for line in printed.splitlines() if "scripts/train.py" in line]
    launched = [line for line in started if "torch.distributed.run" in line]
    assert len(started) == 6
    (line,) = launched
    launcher = "python -m torch.distributed.run --standalone --nproc_per_node 2 "
    assert f" python -m polyalign.runtime.devices 2 {launcher}" in line
    assert '"family": "rloo"' in line
    # Its marker shall say how many of these it held: costs are counted from that.
    assert " --gpus 2 " in line


def kept_for(printed: str) -> dict[str, str]:
    """Folder of the checkpoints of every planned training → settings and code they are kept for."""
    found = [block for block in re.split(r"\n(?=\[)", printed) if "metrics=" in block]
    found = [block for block in found if "rule base_model" not in block]
    assert all("--work" in block for block in found)
    return dict(re.findall(r"--work results/sandbox/work/(\S+) --made-from (\w+)", "".join(found)))


def test_checkpoints_are_kept_for_the_code_that_made_them(plan: Plan, checkout: Path) -> None:
    before = kept_for(plan(*PLAIN, "models"))
    assert {"rloo-hhh-60", "ppo-hhh-60", "reward-helpful"} <= set(before)
    for module in ("train/rloo", "train/reward"):
        with (checkout / f"workflow/polyalign/{module}.py").open("a") as file:
            file.write("\nEDITED = True\n")
    # How fast a value is scored changes no model.
    config = checkout / "config.yaml"
    config.write_text(
        config.read_text().replace("batch_size: 128            #", "batch_size: 32 #")
    )
    dry = snakemake(checkout, "--dry-run", "--printshellcmds", *PLAIN, "models")
    after = kept_for(dry.stdout)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if name.split("-")[0] in ("rloo", "reward")}


def test_data_of_the_users_own_are_read_as_they_lie(checkout: Path) -> None:
    """Folders without gzip, a single file; and reward models train where the study says."""
    mine = checkout / "mine"
    mine.mkdir()
    for name in ("train", "test"):
        (mine / f"{name}.jsonl").write_text("{}")
    config = checkout / "config.yaml"
    text = config.read_text().replace("results/sandbox/world/hh/helpful-base", "mine")
    text = text.replace("results/sandbox/world/hh/harmless-base", "mine/train.jsonl")
    config.write_text(text.replace("device: auto ", "device: cpu "))
    dry = snakemake(checkout, "--dry-run", "--printshellcmds", "--cores", "1", "--", "models")
    assert dry.returncode == 0, dry.stdout
    found = blocks(dry.stdout)
    given = {
        "prompts": {"sources=mine/test.jsonl", "sources=mine/train.jsonl"},
        "reward_model": {"train=mine/train.jsonl", "test=mine/test.jsonl", '"device": "cpu"'},
        "train_dpo": {
            "pairs:helpful=mine/train.jsonl", "held_out:helpful=mine/test.jsonl",
            "pairs:harmless=mine/train.jsonl", "held_out:harmless=mine/train.jsonl",
        },
    }  # fmt: skip
    for rule, words in given.items():
        printed = "".join(job for job in found[rule] if "humor" not in job).replace("'", "")
        assert {word for word in words if word not in printed} == set()
    divided = (
        '"pairs": {"held_out": 0.1, "label": null, "max_words": null, "source": "mine/train.jsonl"'
    )
    assert sum(divided in job for job in found["reward_model"]) == 1


def test_retries_are_the_profiles_alone_and_ask_for_more() -> None:
    rules = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    assert "retries:" not in rules + (REPOSITORY / "Snakefile").read_text()
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    assert profile["retries"] >= 1
    assert "slurm-array-jobs" not in profile
    defaults = profile["default-resources"]
    assert all("attempt" in str(defaults[name]) for name in ("attempt", "mem_mb", "runtime"))


@pytest.mark.parametrize("block", ["groups", "set-resources"])
def test_the_commented_lines_of_the_profile_are_valid(
    checkout: Path, block: str, plan: Plan
) -> None:
    path = checkout / "profiles/slurm/config.yaml"
    before = yaml.safe_load(path.read_text())
    lines = path.read_text().splitlines()
    start = lines.index(f"{block}:") + 1
    length = next((i for i, line in enumerate(lines[start:]) if line[:1] != " "), len(lines))
    shown = [re.sub(r"^  # (?=\w+: )", "  ", line) for line in lines[start : start + length]]
    assert shown != lines[start : start + length]
    path.write_text("\n".join([*lines[:start], *shown, *lines[start + length :]]) + "\n")
    after = yaml.safe_load(path.read_text())
    assert after == before | {block: after[block]}
    assert after[block].items() > before[block].items()
    dry = snakemake(checkout, "--profile", "slurm", "--dry-run", "all")
    assert dry.returncode == 0, dry.stdout
    if block == "groups":
        assert "Group job score" in dry.stdout
    else:
        found = blocks(dry.stdout)
        sampled, trained = found["generate"] + found["annotate"], found["train_dpo"]
        assert all("gpu_model=a100" in job and "one_at_a_time=1" in job for job in sampled)
        assert all("gpu_model=h100" in job and "constraint=" in job for job in trained)
        assert all("cpus_per_task=" in job for job in sampled + trained + found["train_ppo"])
    rules = {job.partition(":")[0] for job in jobs(plan(*PLAIN, "all"))}
    assert set(after["groups"]) | set(after["set-resources"]) <= rules


def test_palettes_share_submissions_in_which_they_take_turns(checkout: Path) -> None:
    config = yaml.safe_load((checkout / "config.yaml").read_text())
    profile = yaml.safe_load((checkout / "profiles/slurm/config.yaml").read_text())
    together = profile["group-components"]["palettes"]
    more = {f"humor-{number}": {"humor": f"q{number}"} for number in range(10, 10 + 2 * together)}
    config["palettes"] |= more
    (checkout / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    dry = snakemake(checkout, "--profile", "slurm", "--dry-run", "--", "palettes")
    assert dry.returncode == 0, dry.stdout
    submissions = re.findall(r"Group job palettes .*?\n(?=\n?\[|\Z)", dry.stdout, re.DOTALL)
    members = [len(re.findall(r"^    rule diagnose:", s, re.M)) for s in submissions]
    assert not any(re.search(r"^    (?:local)?rule solve:", s, re.M) for s in submissions)
    count = len(config["palettes"])
    assert sum(members) == count
    assert len(members) == -(-count // together)
    assert max(members) == together
    assert dry.stdout.count("one_at_a_time=1") == count
    assert profile["resources"]["one_at_a_time"] == 1
    assert profile["set-resource-scopes"]["one_at_a_time"] == "local"


def test_targets_are_listed_with_a_sentence_each(checkout: Path) -> None:
    listed = snakemake(checkout, "--list")
    menu = dict(re.findall(r"^(\w+) \((.+)\)$", listed.stdout, re.MULTILINE))
    assert set(menu) == set(re.findall(r"^\w+", listed.stdout, re.MULTILINE)), listed.stdout
    assert all(sentence.endswith(".") for sentence in menu.values())
    assert {"all", "models", "palettes", "winrates", "plots", "report"} <= set(menu)


def test_nothing_but_common_reads_the_config() -> None:
    """What reads it elsewhere may depend on keys that no job's settings have."""
    reads = re.compile(r"\bconfig(\[|\)|,|\.get\b)")
    files = {*(REPOSITORY / "workflow/rules").glob("*.smk"), REPOSITORY / "Snakefile"}
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


def test_a_study_given_on_the_command_line_stands_alone(plan: Plan) -> None:
    found = jobs(plan("--cores", "2", "--configfile", "configs/scores-only.yaml", "--", "all"))
    assert "import_rewards" in found
    assert not {job for job in found if job.startswith(("world", "generate", "annotate", "train"))}


@pytest.mark.parametrize("target", ["results/sandbox/plots/heat_map.pdf", "palettes", "models"])
def test_targets_can_be_asked_for_by_name(plan: Plan, target: str) -> None:
    assert jobs(plan(*PLAIN, target))
