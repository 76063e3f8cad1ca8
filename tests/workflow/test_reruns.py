"""A change reruns exactly what it affects. The rules are real; the jobs are done by a stand-in."""

import functools
import os
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import copy_checkout, planned, snakemake

COMMAND = "python{launcher} {ROOT}/workflow/scripts/{script}.py"


def stand_in(folder: Path) -> Path:
    """Let the stand-in do the work of all scripts in this checkout."""
    common = folder / "workflow/rules/common.smk"
    text = common.read_text()
    assert COMMAND in text
    common.write_text(text.replace(COMMAND, "python{launcher} {ROOT}/fake_job.py {script}"))
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


def append(folder: Path, name: str) -> None:
    """Edit a source file without changing what it does."""
    with (folder / name).open("a") as stream:
        stream.write("# edited\n")


ENDS = {"tables", "overview", "report"}
PLOTS = {"plot:winrate_scatter", "plot:radar", "plot:asked_vs_realised"}


def of_policy(family: str, variant: str) -> set[str]:
    return {f"{rule}:{family}:{variant}" for rule in ("levels", "winrate")}


def test_a_finished_study_has_nothing_to_do(study: Path) -> None:
    assert planned(study) == set()


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
    (study / "results/sandbox/plots/radar.pdf").unlink()
    assert planned(study) == {"plot:radar", "report"}


def test_a_palette_reruns_its_lambda_and_what_hangs_on_it(study: Path) -> None:
    edit(study, "config.yaml", "harmless-70: {humor: mean", "harmless-70: {humor: mean+0.01sd")
    assert planned(study) == {
        "solve:harmless-70",
        "decode_map_d:harmless-70",
        *of_policy("map-d", "harmless-70"),
        "resolved_config",
        *ENDS,
        *PLOTS,
    }


def test_a_palette_that_is_trained_on_retrains_its_models_alone(study: Path) -> None:
    edit(study, "config.yaml", "hhh-60: {humor: q60", "hhh-60: {humor: q61")
    jobs = planned(study)
    families = ("rloo", "ppo", "dpo")
    assert {job for job in jobs if job.startswith("train")} == {
        f"train_{family}:hhh-60" for family in families
    }
    assert {job for job in jobs if job.startswith("generate")} == {
        f"generate:{family}:hhh-60:0:1" for family in families
    }
    annotated = {job for job in jobs if job.startswith("annotate")}
    assert len(annotated) == 18
    assert all(job.split(":")[2] == "hhh-60" for job in annotated)


def test_a_new_value_is_the_only_one_annotated(study: Path) -> None:
    new = "  bigrams:\n    kind: ngram_diversity\n    sizes: [2]\n"
    edit(study, "config.yaml", "  coherence:\n    kind", f"{new}  coherence:\n    kind")
    jobs = planned(study)
    annotated = {job for job in jobs if job.startswith("annotate")}
    assert annotated
    assert all(":bigrams" in job for job in annotated)
    assert not {job for job in jobs if job.startswith(("generate", "train", "reward"))}


def test_a_label_redraws_without_scoring(study: Path) -> None:
    edit(study, "config.yaml", "label: Humor", "label: Wit")
    assert planned(study) == {"resolved_config", *ENDS, *PLOTS}


def test_a_figure_module_redraws_that_figure(study: Path) -> None:
    append(study, "workflow/polyalign/plots/radar.py")
    assert planned(study) == {"plot:radar", "report"}


def test_the_dual_reruns_lambda_and_no_generation_of_the_pool(study: Path) -> None:
    append(study, "workflow/polyalign/map/dual.py")
    jobs = planned(study)
    assert {job for job in jobs if job.startswith("solve")} == {
        "solve:hhh-60",
        "solve:hhh-65",
        "solve:humor-70",
        "solve:harmless-70",
    }
    assert not {job for job in jobs if job.startswith(("generate:base", "annotate:base", "reward"))}
    assert not {job for job in jobs if job.startswith(("train_dpo:b", "train_soup", "base_model"))}


def test_generation_code_reruns_generation(study: Path) -> None:
    append(study, "workflow/polyalign/generate.py")
    jobs = planned(study)
    assert {"generate:base:pool:0:2", "generate:base:pool:1:2", "generate:base:base:0:1"} <= jobs
    assert "train_dpo:hhh-60" in jobs, "its pairs are candidates"
    assert not {
        job for job in jobs if job.startswith(("base_model", "reward_model", "train_dpo:b"))
    }


def test_one_kind_of_reward_reruns_its_values(study: Path) -> None:
    append(study, "workflow/polyalign/values/embedding_similarity.py")
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
    append(study, "workflow/polyalign/train/ppo.py")
    assert {job for job in planned(study) if job.startswith("train")} == {"train_ppo:hhh-60"}


def test_more_gpus_are_no_reason_to_train_again(study: Path) -> None:
    assert planned(study, "--set-resources", "train_rloo:gpu=4", "train_dpo:gpu=2") == set()


def test_the_cut_of_a_data_set_reruns_what_is_trained_on_it(study: Path) -> None:
    edit(
        study,
        "config.yaml",
        "harmless: {path: results/sandbox/world/hh/harmless-base}",
        "harmless: {path: results/sandbox/world/hh/harmless-base, max_words: 40}",
    )
    jobs = planned(study)
    assert {job for job in jobs if job.startswith(("reward_model", "train_dpo:b"))} == {
        "reward_model:harmless",
        "train_dpo:beta-0.1_harmless-0.1",
        "train_dpo:beta-0.1_harmless-0.9",
    }


def test_order_of_keys_means_nothing(study: Path) -> None:
    edit(study, "config.yaml", "{harmless: 0.1, helpful: 0.9}", "{helpful: 0.9, harmless: 0.1}")
    assert not {job for job in planned(study) if job.startswith("train")}


def test_a_dropped_figure_drops_its_job(study: Path) -> None:
    edit(study, "config.yaml", "plots: [winrate_scatter, radar,", "plots: [winrate_scatter,")
    assert planned(study) == {"resolved_config", "report"}


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


def test_one_target_plans_only_what_it_needs(checkout: Path) -> None:
    jobs = planned(checkout, "results/sandbox/models/dpo/beta-0.1_harmless-0.9.json")
    assert jobs == {"world", "base_model", "train_dpo:beta-0.1_harmless-0.9"}


SETTINGS = [
    ("sampling.temperature", 0.9, "generate:base:pool:0:2"),
    ("seed", 12345, "world"),
    ("evaluation.bootstrap", 123, "levels:base:base"),
    ("policies.rloo.steps", 12, "train_rloo:hhh-60"),
    ("policies.ppo.steps", 40, "train_ppo:hhh-60"),
    ("policies.dpo.labelled.pairs", 99, "train_dpo:hhh-60"),
    ("reward_models.humor.epochs", 3, "reward_model:humor"),
]


@pytest.mark.parametrize(("key", "value", "job"), SETTINGS)
def test_a_setting_reruns_its_stage(study: Path, key: str, value: float, job: str) -> None:
    config = yaml.safe_load((study / "config.yaml").read_text())
    *sections, name = key.split(".")
    section = functools.reduce(lambda inner, part: inner[part], sections, config)
    assert section[name] != value
    section[name] = value
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert job in planned(study)
