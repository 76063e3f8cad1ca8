"""A change reruns exactly what it affects. The rules are real; the jobs are done by a stand-in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, copy_checkout, jobs, planned, snakemake

from polyalign import plots
from polyalign.plan.shown import ON_PAGE
from polyalign.study import load

Plan = Callable[..., str]
# Which script a job runs, and how: no process that has imported its libraries is needed here.
SCRIPT = 'shlex.quote(f"{root}/workflow/scripts/{STAGES[stage].script}.py")'
PRELOADED = 'f"python -m polyalign.runtime.preloaded {libraries}"'


def stand_in(folder: Path) -> Path:
    """Let the stand-in do the work of all scripts in this checkout."""
    source = folder / "workflow/polyalign/plan/command.py"
    text = source.read_text()
    for old, new in (
        (SCRIPT, 'f"{root}/fake_job.py {STAGES[stage].script}"'),
        (PRELOADED, '"python"'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    source.write_text(text)
    shutil.copy(Path(__file__).parent / "fake_job.py", folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the whole sandbox study has been made."""
    folder = stand_in(copy_checkout(tmp_path_factory.mktemp("finished") / "checkout"))
    run = snakemake(folder, "--cores", "2", "--quiet", "rules", "--", "all")
    assert run.returncode == 0, run.stdout
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished checkout, with Snakemake's records and all times."""
    return Path(shutil.copytree(finished, tmp_path / "copy", symlinks=True))


def edit(folder: Path, name: str, old: str, new: str) -> None:
    """Replace a text that stands once in a file."""
    path = folder / name
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
    path.write_text(text.replace(old, new))


def change(folder: Path, name: str) -> None:
    """Change what a source file computes."""
    with (folder / name).open("a") as stream:
        stream.write("EDITED = True\n")


ENDS = {"tables", "overview", "report"}
STUDY = load(REPOSITORY / "config.yaml")
PLOTS = {f"plot:{name}" for name in STUDY.plots}
RANDOM = {f"plot:{name}" for name in ("random_levels", "feasible_lambda")}
OF_RLOO = {name for name in PLOTS if "rloo" in name}
OF_PALETTES = {
    f"plot:{name}"
    for name in STUDY.plots
    if {"palettes", "rounds", "paths", "fronts"} & set(plots.figure(name).needs)
}


def on_page(figure: str) -> set[str]:
    """The overview, if the figure is on it."""
    return {"overview"} if figure in STUDY.plots[:ON_PAGE] else set()


def of_policy(family: str, variant: str) -> set[str]:
    return {f"{rule}:{family}:{variant}" for rule in ("levels", "winrate")}


def test_a_finished_study_has_nothing_to_do(finished: Path) -> None:
    assert planned(finished) == set()


def test_results_copied_into_a_second_checkout_are_complete(finished: Path, tmp_path: Path) -> None:
    second = stand_in(copy_checkout(tmp_path / "second"))
    shutil.copytree(finished / "results", second / "results")
    assert planned(second) == set()


def test_touched_sources_rerun_nothing(study: Path) -> None:
    for path in study.rglob("*"):
        if "results" not in path.parts and ".snakemake" not in path.parts:
            os.utime(path, follow_symlinks=False)
    assert planned(study) == set()


def test_a_deleted_plot_is_drawn_again(study: Path) -> None:
    (study / "results/sandbox/plots/heat_map.pdf").unlink()
    assert planned(study) == {"plot:heat_map", *on_page("heat_map"), "report"}


@pytest.mark.parametrize("caption", ["figure", "overview", "winrates", "workflow"])
def test_an_edited_caption_rebuilds_the_report_alone(study: Path, caption: str) -> None:
    path = study / f"workflow/report/{caption}.rst"
    path.write_text(path.read_text() + "\nEdited.\n")
    assert planned(study) == {"report"}


def test_a_palette_reruns_its_lambda_and_what_hangs_on_it(study: Path) -> None:
    edit(study, "config.yaml", "harmless-70: {humor: mean", "harmless-70: {humor: mean+0.01sd")
    assert planned(study) == {
        "solve:harmless-70",
        "diagnose:harmless-70",
        "decode_map_d:harmless-70",
        *of_policy("map-d", "harmless-70"),
        "resolved_config",
        "families",
        "explore_rounds",
        "explore_paths",
        *ENDS,
        "explore_fronts",
        *(PLOTS - RANDOM - OF_RLOO - {"plot:workflow_dag", "plot:value_calibration"}),
    }


def test_a_palette_that_is_trained_on_retrains_its_models_alone(study: Path) -> None:
    edit(study, "config.yaml", "hhh-60: {humor: mean+0.2sd", "hhh-60: {humor: q61")
    found = planned(study)
    trained = {f"train_{family}:hhh-60" for family in ("rloo", "ppo", "dpo")}
    assert {job for job in found if job.startswith("steer")} == {"steer:value-d:hhh-60"}
    sampled = {f"generate:{family}:hhh-60:0:1" for family in ("rloo", "ppo", "dpo")}
    assert {job for job in found if job.startswith("train")} == trained
    assert {job for job in found if job.startswith("generate")} == {
        *sampled,
        "generate_value_d:hhh-60:0:1",
    }
    annotated = {job for job in found if job.startswith("annotate")}
    assert len(annotated) == 24
    assert all(job.split(":")[2] == "hhh-60" for job in annotated)


def test_a_new_value_is_the_only_one_annotated(study: Path) -> None:
    new = "  bigrams:\n    kind: ngram_diversity\n    sizes: [2]\n"
    edit(study, "config.yaml", "  coherence:\n    kind", f"{new}  coherence:\n    kind")
    found = planned(study)
    annotated = {job for job in found if job.startswith("annotate")}
    assert annotated
    assert all(":bigrams" in job for job in annotated)
    assert not {job for job in found if job.startswith(("generate", "train", "reward"))}


def test_a_value_with_another_name_leaves_the_other_scores(study: Path) -> None:
    """Its own come from the cache (tests/unit/rewards); what λ weighs by name is made again."""
    text = (study / "config.yaml").read_text()
    (study / "config.yaml").write_text(text.replace("coherence:", "renamed:"))
    found = planned(study)
    annotated = {job for job in found if job.startswith("annotate:base")}
    assert len(annotated) == 3
    assert all(":renamed:" in job for job in annotated)
    assert not {job for job in found if job.startswith(("generate:base", "reward", "train_dpo:b"))}


def configure(folder: Path, **changes: Any) -> None:
    """Change settings of the config, by their dotted names (`values__humor__device`)."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name, value in changes.items():
        *sections, key = name.split("__")
        place = config
        for section in sections:
            place = place[section]
        assert place.get(key) != value
        place[key] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


SHOWN = {"resolved_config", "overview", "report"}
NO_NUMBER = {
    "batch size of a value in lambda": ({"values__humor__batch_size": 7}, SHOWN),
    "batch size of a value": ({"values__perplexity__batch_size": 7}, SHOWN),
    "device of a value": ({"values__helpful__device": "cpu"}, SHOWN),
    "shards": ({"sampling__shards": 3}, SHOWN),
    "limit above the prompts": ({"prompts__limit": 70}, SHOWN),
    "no limit": ({"prompts__limit": None}, SHOWN),
    "adjust": ({"map__on_infeasible": "adjust"}, SHOWN),
}


@pytest.mark.parametrize(("changes", "jobs"), NO_NUMBER.values(), ids=NO_NUMBER)
def test_an_edit_that_changes_no_number_makes_nothing_but_the_page(
    study: Path, changes: dict[str, Any], jobs: set[str]
) -> None:
    configure(study, **changes)
    assert planned(study) == jobs


def test_such_edits_are_no_reason_later_either(study: Path) -> None:
    """The jobs that do run leave records that the next plan agrees with; and back again."""
    changes = {key: value for edits, _ in NO_NUMBER.values() for key, value in edits.items()}
    before = (study / "config.yaml").read_text()
    configure(study, **changes)
    assert planned(study) == SHOWN
    made = snakemake(study, "--cores", "2", "--quiet", "rules", "--", "all")
    assert made.returncode == 0, made.stdout
    assert planned(study) == set()
    (study / "config.yaml").write_text(before)
    assert planned(study) == SHOWN


def test_a_limit_below_the_prompts_samples_again(study: Path) -> None:
    configure(study, prompts__limit=50)
    found = planned(study)
    assert {"prompts", "generate:base:pool:0:2", "generate:base:base:0:1"} <= found


def test_a_pool_that_is_sampled_again_takes_the_new_shards(study: Path) -> None:
    configure(study, sampling__shards=3, sampling__temperature=0.9)
    found = planned(study)
    pool = {job for job in found if job.startswith("generate:base:pool")}
    assert pool == {f"generate:base:pool:{i}:3" for i in range(3)}


def test_a_palette_that_was_adjusted_is_solved_again_if_it_may_not_be(study: Path) -> None:
    lam = study / "results/sandbox/palettes/lam/hhh-65.json"
    times = lam.stat().st_atime_ns, lam.stat().st_mtime_ns
    lam.write_text(lam.read_text().replace('"reached": 1.0', '"reached": 0.5'))
    os.utime(lam, ns=times)
    configure(study, map__on_infeasible="adjust")
    solved = {job for job in planned(study) if job.startswith("solve")}
    assert solved == {"solve:hhh-65"}


def why(folder: Path, *arguments: str) -> list[str]:
    """The lines of `polyalign why` in a checkout."""
    call = "import sys; from polyalign.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", call, "why", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "workflow")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_why_a_file_would_be_made_again(study: Path) -> None:
    model = "results/sandbox/models/rloo/hhh-60.json"
    configure(study, values__humor__batch_size=7)
    (said,) = why(study, "rloo/hhh-60")
    assert said.startswith(f"nothing: {model} is up to date, made 20")
    steps = STUDY.policies["rloo"].model_dump()["steps"]  # a multiple of passes
    configure(study, policies__rloo__steps=steps + 2)
    change(study, "workflow/polyalign/map/dual.py")
    change(study, "workflow/polyalign/train/rloo.py")
    edited = study / "results/sandbox/world/hh/helpful-base/train.jsonl.gz"
    edited.write_text("other")
    (study / "results/sandbox/plots/heat_map.pdf").unlink()
    text = "\n".join(why(study, "rloo/hhh-60"))
    assert text.startswith(
        f"{model} would be made, after 5 other jobs:\n"
        f"  setting settings.steps: {steps} → {steps + 2}\n"
        "  code edited: polyalign.train.rloo\n"
        "  inputs that would be made first: "
    )
    assert "palettes/lam/hhh-60.json (solve):\n  code edited: polyalign.map.dual" in text
    assert (
        "results/sandbox/models/reward/helpful (reward_model):\n"
        f"  input {edited.relative_to(study)}: its content changed (of 20"
    ) in text
    assert "heat_map" not in text
    assert why(study, "heat_map")[1] == "  missing: results/sandbox/plots/heat_map.pdf"


def test_a_label_redraws_without_scoring(study: Path) -> None:
    edit(study, "config.yaml", "label: Humor", "label: Wit")
    assert planned(study) == {"resolved_config", "mixing", *ENDS, *PLOTS}


def test_a_figure_module_redraws_that_figure(study: Path) -> None:
    change(study, "workflow/polyalign/plots/figures/heat_map.py")
    assert planned(study) == {"plot:heat_map", *on_page("heat_map"), "report"}


def test_the_dual_reruns_lambda_and_no_generation_of_the_pool(study: Path) -> None:
    change(study, "workflow/polyalign/map/dual.py")
    found = planned(study)
    assert {job for job in found if job.startswith("solve")} == {
        "solve:hhh-60",
        "solve:hhh-65",
        "solve:humor-70",
        "solve:harmless-70",
    }
    assert not {
        job for job in found if job.startswith(("generate:base", "annotate:base", "reward"))
    }
    assert not {job for job in found if job.startswith(("train_dpo:b", "train_soup", "base_model"))}


@pytest.mark.parametrize(("key", "value"), [("resamples", 50), ("min_ess", 3.0)])
def test_what_is_said_of_a_lambda_remakes_nothing_that_is_made_with_it(
    study: Path, key: str, value: float
) -> None:
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["map"][key] = value
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    palettes = {f"diagnose:{palette}" for palette in config["palettes"]}
    explored = {"explore_rounds", "explore_paths", "explore_fronts"}
    assert planned(study) == {*palettes, *explored, "resolved_config", *ENDS, *OF_PALETTES}


def test_generation_code_reruns_generation(study: Path) -> None:
    change(study, "workflow/polyalign/sampling/generate.py")
    found = planned(study)
    assert {"generate:base:pool:0:2", "generate:base:pool:1:2", "generate:base:base:0:1"} <= found
    assert "train_dpo:hhh-60" in found, "its pairs are candidates"
    assert not {
        job for job in found if job.startswith(("base_model", "reward_model", "train_dpo:b"))
    }


def test_another_seed_trains_that_replicate_alone(study: Path) -> None:
    """With the study's seed first, the model that is there stays, and so do its answers."""
    mark = "start: dpo                 # from the model of dpo/hhh-60\n"
    edit(study, "config.yaml", mark, f"{mark}    seeds: [1, 2]\n")
    found = planned(study)
    started = ("train", "generate", "annotate", "merge", "solve", "steer", "reward", "base_model")
    made = {job for job in found if job.startswith(started)}
    assert {job for job in made if not job.startswith("annotate")} == {
        "train_rloo:hhh-60.seed-2",
        "generate:rloo:hhh-60.seed-2:0:1",
        "merge:rloo:hhh-60.seed-2",
    }
    assert all(":rloo:hhh-60.seed-2:" in job for job in made if job.startswith("annotate"))
    assert {job for job in found if job.startswith(("levels", "winrate"))} == of_policy(
        "rloo", "hhh-60.seed-2"
    )
    assert {"seeds", "plot:delivery", *ENDS} <= found


def test_guidance_reruns_guided_sampling_alone(study: Path) -> None:
    sampled = ("generate", "decode", "train", "solve", "reward", "base_model")
    # No reward guides a policy of this study.
    for module, again in (("guided", set()), ("valued", {"generate_value_d:hhh-60:0:1"})):
        change(study, f"workflow/polyalign/sampling/{module}.py")
        found = planned(study)
        assert {job for job in found if job.startswith(sampled)} == again
    assert all(":value-d:" in job for job in found if job.startswith("annotate"))


def test_another_random_lambda_is_decoded_alone(study: Path) -> None:
    edit(study, "config.yaml", "morl-d: {count: 1,", "morl-d: {count: 2,")
    decoded = {job for job in planned(study) if job.startswith(("decode", "levels", "generate"))}
    assert decoded == {"decode_morl_d:draw-2", "levels:morl-d:draw-2"}


USES_HELPER = """
import helper

def score(prompts, responses):
    return [helper.factor for _ in responses]
"""


def test_the_users_own_reward_is_scored_again_when_its_code_changes(study: Path) -> None:
    (study / "mine.py").write_text(USES_HELPER)
    (study / "helper.py").write_text("factor = 2\n")
    new = "  mine: {kind: python, function: 'mine:score'}\n"
    edit(study, "config.yaml", "  coherence:\n    kind", f"{new}  coherence:\n    kind")
    target = "results/sandbox/policies/base/base/shards/mine_0-of-1.parquet"
    assert planned(study, target) == {"annotate:base:base:mine:0:1"}
    made = snakemake(study, "--cores", "1", "--quiet", "rules", "--", target)
    assert made.returncode == 0, made.stdout
    os.utime(study / "helper.py")
    (study / "mine.py").write_text(
        USES_HELPER.replace("    return", "    # the same for all\n    return")
        + "\ndef another(prompts, responses):\n    return []\n"
    )
    assert planned(study, target) == set()
    assert why(study, target)[0].startswith("nothing: ")
    change(study, "helper.py")
    assert why(study, target)[1] == "  code edited: helper.py"
    assert planned(study, target) == {"annotate:base:base:mine:0:1"}


def test_a_value_is_scored_again_by_forcing_its_files(finished: Path) -> None:
    """The command of docs/generation.md: of the base model's responses nothing else is scored."""
    found = finished.glob("results/sandbox/policies/*/*/shards/perplexity_*")
    files = [str(path.relative_to(finished)) for path in found]
    of_base = ("annotate:base", "generate:base")
    found = planned(finished, "--forcerun", *files, "--", "all")
    annotated = {job for job in found if job.startswith(of_base)}
    assert len(annotated) == 3
    assert all(":perplexity:" in job for job in annotated)


def test_one_kind_of_reward_reruns_its_values(study: Path) -> None:
    change(study, "workflow/polyalign/rewards/kinds/embedding_similarity.py")
    annotated = {job for job in planned(study) if job.startswith("annotate:base:pool")}
    assert annotated == {"annotate:base:pool:coherence:0:2", "annotate:base:pool:coherence:1:2"}


def test_two_settings_that_swap_values_rerun_their_stage(study: Path) -> None:
    edit(
        study,
        "config.yaml",
        "harmless-0.1: {harmless: 0.1, helpful: 0.9}",
        "harmless-0.1: {harmless: 0.9, helpful: 0.1}",
    )
    trained = {job for job in planned(study) if job.startswith("train")}
    assert trained == {"train_dpo:beta-0.1_harmless-0.1", "train_soup:harmless-0.5"}


def test_ppo_reruns_ppo_alone(study: Path) -> None:
    change(study, "workflow/polyalign/train/ppo.py")
    assert {job for job in planned(study) if job.startswith("train")} == {"train_ppo:hhh-60"}


def test_a_real_edit_of_rloo_reruns_rloo_and_what_follows(study: Path) -> None:
    edit(study, "workflow/polyalign/train/rloo.py", '"loss_type": "dr_grpo"', '"loss_type": "bnpo"')
    found = planned(study)
    sampled = "generate:rloo:hhh-60:0:1"
    scored = {f"annotate:rloo:hhh-60:{value}:0:1" for value in STUDY.values}
    assert {job for job in found if job.startswith(("train", "generate", "annotate"))} == {
        "train_rloo:hhh-60",
        sampled,
        *scored,
    }
    assert of_policy("rloo", "hhh-60") <= found
    assert found >= ENDS
    assert not {job for job in found if job.startswith(("solve", "decode", "reward", "base_model"))}


LIBRARY = "workflow/polyalign"
SAYS = {
    "a docstring": (f"{LIBRARY}/settings.py", '"""A section of the config:', '"""One section:'),
    "a docstring of a function": (
        f"{LIBRARY}/train/common.py",
        '"""Rows that one process takes at once',
        '"""How many rows one process takes at once',
    ),
    "a comment": (f"{LIBRARY}/rewards/spec.py", "\n\n\nclass", "\n\n\n# edited\nclass"),
    "a comment in a script": ("workflow/scripts/train.py", "\n\n\ndef", "\n\n\n# edited\ndef"),
    "a description": (
        f"{LIBRARY}/families/options.py",
        'description="Peak step size of the optimiser."',
        'description="Largest step of the optimiser."',
    ),
    "an annotation": (
        f"{LIBRARY}/data/keys.py",
        "def prompt_id(prompt: str) -> str:",
        'def prompt_id(prompt: "str") -> "str":',
    ),
    "an annotation of a variable": (
        f"{LIBRARY}/map/dual.py",
        "\n\n\ndef",
        "\n\n\nNOTHING: int\n\n\ndef",
    ),
    "a version": (f"{LIBRARY}/__init__.py", '__version__ = "', '__version__ = "1'),
    "the bookkeeping of jobs": (f"{LIBRARY}/runtime/job_record.py", "60.0", "61.0"),
    "how a job starts": (f"{LIBRARY}/runtime/job.py", "gc.set_threshold(10_000)", ""),
}


def test_what_code_says_reruns_nothing(study: Path) -> None:
    """All in one plan: an edit that counted would rerun a job, whatever the others do."""
    for name, old, new in SAYS.values():
        path = study / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
    assert planned(study) == set()


def test_more_gpus_are_no_reason_to_train_again(finished: Path) -> None:
    assert planned(finished, "--set-resources", "train_rloo:gpu=4", "train_dpo:gpu=2") == set()


def test_the_cut_of_a_data_set_reruns_what_is_trained_on_it(study: Path) -> None:
    edit(
        study,
        "config.yaml",
        "harmless: {path: results/sandbox/world/hh/harmless-base}",
        "harmless: {path: results/sandbox/world/hh/harmless-base, max_words: 40}",
    )
    found = planned(study)
    assert {job for job in found if job.startswith(("reward_model", "train_dpo:b"))} == {
        "reward_model:harmless",
        "train_dpo:beta-0.1_harmless-0.1",
        "train_dpo:beta-0.1_harmless-0.9",
    }


def test_a_dropped_figure_drops_its_job(study: Path) -> None:
    edit(study, "config.yaml", "  - heat_map\n", "")
    # The figure of the jobs counts one less.
    counted = {"explore_jobs", "plot:workflow_dag"}
    assert planned(study) == {"resolved_config", "overview", "report", *counted}


def test_a_dropped_figure_drops_the_curve_that_it_alone_needs(study: Path) -> None:
    edit(study, "config.yaml", "  - sequential\n", "")
    (study / "results/sandbox/explore/rounds.csv").unlink()
    # The plan of the study has a rule less, which the figure of the plan shows.
    plan = {"explore_jobs", "plot:workflow_dag"}
    assert planned(study) == {"resolved_config", "overview", "report", *plan}


def test_explored_curves_rerun_by_their_own_settings_and_code(study: Path) -> None:
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["explore"]["draws"] += 1
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    drawn = {"explore_random", *RANDOM, "resolved_config", "overview", "report"}
    assert planned(study) == drawn
    change(study, "workflow/polyalign/palettes/sweeps/paths.py")
    assert planned(study) == drawn | {"explore_paths", "plot:palette_path"}


def test_slack_and_opponent_judge_again_and_score_nothing(study: Path) -> None:
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["evaluation"]["slack"] = "published-0.03"
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    judged = {"families", "mixing", "tables"}
    assert planned(study) == {*judged, "resolved_config", "overview", "report"}
    config["evaluation"]["opponent"] = "soup/harmless-0.5"
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    found = planned(study)
    assert {job for job in found if job.startswith("winrate")} == {
        f"winrate:{policy.replace('/', ':')}" for policy in [made.name for made in STUDY.evaluated]
    }
    assert not {job for job in found if job.startswith(("levels", "annotate", "generate", "train"))}


def test_a_value_that_is_evaluated_only_changes_no_lambda(study: Path) -> None:
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["values"]["bigrams"] = {"kind": "ngram_diversity", "sizes": [2]}
    config["evaluation"]["evaluate_only"] = ["bigrams"]
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    found = planned(study)
    assert "annotate:rloo:hhh-60:bigrams:0:1" in found
    found -= {"explore_jobs"}  # which counts the jobs
    assert not {job for job in found if job.startswith(("solve", "explore", "train", "generate"))}


def test_records_of_jobs_are_no_inputs(study: Path) -> None:
    for path in (study / "results/sandbox/logs").rglob("*.json"):
        path.write_text(path.read_text().replace("0", "1"))
    assert planned(study) == set()


def test_a_model_that_comes_out_the_same_stops_there(study: Path) -> None:
    """A manifest without change keeps downstream jobs, although the weights are newer."""
    folder = study / "results/sandbox/models/dpo/beta-0.1_harmless-0.1"
    again = snakemake(
        study,
        "--cores",
        "1",
        "--force",
        "--quiet",
        "all",
        "--",
        f"{folder}.json".replace(f"{study}/", ""),
    )
    assert again.returncode == 0, again.stdout
    assert planned(study) == set()


def test_the_figure_of_a_policy_plans_that_policy_and_the_base_model(plan: Plan) -> None:
    name = "beta-0.1_harmless-0.9"
    figure = f"results/sandbox/plots/reward_histograms/dpo/{name}.pdf"
    found = jobs(plan("--cores", "2", "--", figure))
    policies = {job.partition(":")[2] for job in found if job.startswith("merge")}
    assert policies == {"base:base", f"dpo:{name}"}
    assert {job for job in found if job.startswith("train")} == {f"train_dpo:{name}"}


def test_one_target_plans_only_what_it_needs(plan: Plan) -> None:
    model = "results/sandbox/models/dpo/beta-0.1_harmless-0.9.json"
    found = jobs(plan("--cores", "2", "--", model))
    assert found == {"world", "base_model", "train_dpo:beta-0.1_harmless-0.9"}
