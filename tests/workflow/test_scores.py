"""Studies from scores alone run for real, in a checkout where PyTorch cannot be imported."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY, snakemake

REFERENCE = REPOSITORY.parent / "shared/reference/llama2_chat-Anthropic-harmless.json"


@pytest.fixture
def without_torch(checkout: Path) -> Path:
    """A checkout whose library path holds modules that refuse to be imported."""
    for name in ("torch", "transformers", "trl", "datasets"):
        refusal = f"raise ImportError('{name} must not be imported here')\n"
        (checkout / f"workflow/{name}.py").write_text(refusal)
    return checkout


def run(folder: Path, config: str, *targets: str) -> None:
    done = snakemake(folder, "--cores", "2", "--configfile", config, "--", *targets)
    assert done.returncode == 0, done.stdout


def test_the_shipped_study_runs_to_its_report(without_torch: Path) -> None:
    run(without_torch, "configs/scores-only.yaml", "all")
    results = without_torch / "results/scores-only"
    assert (results / "report.html").stat().st_size > 100_000
    summary = pd.read_csv(results / "tables/summary.csv")
    assert set(summary["family"]) == {"base", "map-d"}
    base = summary[summary["family"] == "base"].iloc[0]
    for _, row in summary[summary["family"] == "map-d"].iterrows():
        assert row["verdict"] == "supported"
        assert row["humor_level"] > base["humor_level"] or row["humor_lam"] == 0
    assert (results / "plots/radar.pdf").read_bytes().startswith(b"%PDF")
    assert r"\toprule" in (results / "tables/winrates.tex").read_text()


@pytest.mark.skipif(not REFERENCE.is_file(), reason="needs the published table beside the checkout")
def test_the_published_table_gives_the_published_lambda(without_torch: Path) -> None:
    """All prompts in the fit split, as in the paper: λ of hhh-70 by the joint dual."""
    names = {
        "humor": "humor",
        "helpful": "gpt2-helpful",
        "harmless": "gpt2-harmless",
        "diversity": "diversity",
        "coherence": "coherence",
        "perplexity": "perplexity",
    }
    records = json.loads(REFERENCE.read_text())
    table = without_torch / "published.json"
    table.write_text(json.dumps([{**record, "split": "fit"} for record in records]))
    raised, kept = dict.fromkeys(list(names)[:3], "q70"), dict.fromkeys(list(names)[3:], "mean")
    study = {
        "study": "published",
        "rewards": "published.json",
        "values": {name: {"kind": "column", "column": key} for name, key in names.items()},
        "palettes": {"hhh-70": raised | kept},
        "map": {"scope": "joint"},
        "plots": [],
    }
    (without_torch / "study.yaml").write_text(yaml.safe_dump(study))
    run(without_torch, "study.yaml", "palettes")
    record = json.loads((without_torch / "results/published/palettes/hhh-70.json").read_text())
    published = dict(zip(names, [2.017, 1.394, 1.499, 0, 0, 0.068], strict=True))
    lam = dict(zip(record["values"], record["lam"], strict=True))
    assert lam == pytest.approx(published, abs=2e-3)
    assert record["ess"] == pytest.approx(180, abs=1)
    assert record["verdict"] == "supported"
    assert record["kkt"] <= 1e-8


def test_a_palette_out_of_reach_fails_with_its_conflict(without_torch: Path) -> None:
    study = yaml.safe_load((without_torch / "configs/scores-only.yaml").read_text())
    study["map"]["on_infeasible"] = "fail"
    study["palettes"]["hhh-60"] = {"humor": "max", "helpful": "max", "harmless": "max"}
    (without_torch / "study.yaml").write_text(yaml.safe_dump(study))
    target = "results/scores-only/palettes/hhh-60.json"
    done = snakemake(without_torch, "--cores", "1", "--configfile", "study.yaml", "--", target)
    assert done.returncode != 0
    assert "palette 'hhh-60'" in done.stdout
    assert "infeasible" in done.stdout
    assert not (without_torch / target).exists()
