"""A study goes on without palettes that no policy reaches, and its report without what failed."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import copy_checkout, planned, snakemake
from test_run_command import start

RESULTS = Path("results/scores-only")
IMPOSSIBLE = {"humor": "max", "helpful": "max"}


def write_study(folder: Path, name: str, **changes: Any) -> None:
    study = yaml.safe_load((folder / "configs/scores-only.yaml").read_text())
    study["palettes"] = {"hhh-60": study["palettes"]["hhh-60"], "impossible": IMPOSSIBLE}
    study["map"] = {"resamples": 0}
    study["policies"] = {
        "map-d": {"palettes": ["hhh-60", "impossible"]},
        "best-of": {"palettes": ["hhh-60"]},
    }
    study["plots"] = ["heat_map", "before_after", "reward_histograms/map-d/impossible"]
    (folder / name).write_text(yaml.safe_dump({**study, **changes}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a palette that no policy reaches, as plain Snakemake makes it."""
    folder = copy_checkout(tmp_path_factory.mktemp("impossible") / "checkout")
    write_study(folder, "study.yaml")
    assert "decode_map_d:impossible" in planned(folder, "--configfile", "study.yaml", "--", "all")
    done = snakemake(folder, "--cores", "2", "--configfile", "study.yaml", "--", "all")
    assert done.returncode == 0, done.stdout
    return folder


def test_all_is_made_but_what_needs_the_palette(finished: Path) -> None:
    tables = finished / RESULTS / "tables"
    summary = pd.read_csv(tables / "summary.csv")
    rows = (summary["family"] + "/" + summary["variant"]).tolist()
    assert rows == ["base/base", "best-of/hhh-60", "map-d/hhh-60"]
    for name in ("winrates", "levels"):
        assert len(pd.read_csv(tables / f"{name}.csv")) == 3
    verdicts = pd.read_csv(tables / "lambda.csv").set_index("palette")["verdict"]
    assert verdicts.to_dict() == {"hhh-60": "supported", "impossible": "infeasible"}
    said = "Left out: map-d/impossible (palette impossible is infeasible)."
    assert (finished / RESULTS / "plots/heat_map.txt").read_text().endswith(said)
    for name in ("overview.html", "report.html"):
        page = (finished / RESULTS / name).read_text()
        assert said in page
    overview = (finished / RESULTS / "overview.html").read_text()
    assert "Proof: no policy on these samples has more than" in overview
    assert not (finished / RESULTS / "policies/map-d/impossible").exists()
    assert not list((finished / RESULTS / "plots").glob("reward_histograms/*"))
    assert planned(finished, "--configfile", "study.yaml", "--", "all") == set()


def test_to_ask_for_just_that_palettes_policy_is_one_error(finished: Path) -> None:
    target = f"{RESULTS}/policies/map-d/impossible/levels.csv"
    done = snakemake(finished, "--cores", "1", "--configfile", "study.yaml", "--", target)
    assert done.returncode != 0
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert told.startswith("error: palette 'impossible' has no λ, so that nothing can be made")
    assert "set map.on_infeasible to adjust" in told


def test_only_what_the_setting_changes_is_made_again(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "copy", symlinks=True))
    write_study(folder, "study.yaml", map={"resamples": 0, "on_infeasible": "adjust"})
    found = planned(folder, "--configfile", "study.yaml", "--", "all")
    assert {"solve:impossible", "decode_map_d:impossible"} <= found
    assert not {job for job in found if job.split(":")[0] in ("solve", "decode_map_d")} - {
        "solve:impossible",
        "decode_map_d:impossible",
    }
    assert not {"diagnose:hhh-60", "decode_best_of:hhh-60"} & found
    chosen = {"hhh-60": "fail", "impossible": "report"}
    write_study(folder, "study.yaml", map={"resamples": 0, "on_infeasible": chosen})
    # The text on how it was done is another.
    assert planned(folder, "--configfile", "study.yaml", "--", "all") == {
        "resolved_config",
        "overview",
        "report",
    }
    palettes = {"impossible": {"humor": "q60"}}
    write_study(folder, "study.yaml", palettes={**HHH, **palettes}, map={"resamples": 0})
    found = planned(folder, "--configfile", "study.yaml", "--", "all")
    assert {"solve:impossible", "decode_map_d:impossible", "levels:map-d:impossible"} <= found


HHH = {
    "hhh-60": {
        **dict.fromkeys(("humor", "helpful", "harmless"), "q60"),
        **dict.fromkeys(("diversity", "coherence", "perplexity"), "mean"),
    }
}


def test_the_report_names_what_failed(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "copy", symlinks=True))
    shown = ["heat_map", "training_curves"]
    write_study(folder, "configs/scores-only.yaml.new", plots=shown, seed=2)
    (folder / "configs/scores-only.yaml.new").rename(folder / "configs/scores-only.yaml")
    source = folder / "workflow/polyalign/families/best_of.py"
    text = source.read_text()
    source.write_text(text.replace(":best_of_palette", ":no_such_function"))
    process = start(folder)
    printed, _ = process.communicate()
    assert process.returncode == 1, printed
    log = f"{RESULTS}/logs/decode/best-of-hhh-60.log"
    assert f"Report of the rest, which names what is missing: {RESULTS}/report.html" in printed
    assert "Not complete: 2 jobs failed" in printed
    assert f"  log: {log}" in printed
    report = (folder / RESULTS / "report.html").read_text()
    assert "This report is not complete" in report
    assert f"The policy best-of/hhh-60 is missing, since its job failed; its log is {log}" in report
    assert "The figure training_curves is missing" in report
    assert not (folder / RESULTS / "failed.json").exists()
    summary = pd.read_csv(folder / RESULTS / "tables/summary.csv")
    assert summary["family"].tolist() == ["base", "map-d"]
    # The next run does not take it for complete.
    source.write_text(text)
    found = planned(folder, "--configfile", "configs/scores-only.yaml", "--", "all")
    assert {
        "decode_best_of:hhh-60",
        "tables",
        "families",
        "plot:training_curves",
        "report",
    } <= found
