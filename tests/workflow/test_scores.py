"""Studies from scores alone run for real, with the packages of the light environment alone."""

import json
import shutil
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path

import generated
import pandas as pd
import pytest
import yaml
from browser import (
    faults,
    figures_shown,
    first_paragraph,
    needs_browser,
    open_table,
    opened,
    rows_shown,
    search,
    table_names,
)
from conftest import REPOSITORY, copy_checkout, snakemake
from packaging.utils import canonicalize_name
from selenium.webdriver.common.by import By

REFUSE = """
import sys

class Refuse:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"{{name}} is not in envs/light.yaml", name=name)

sys.meta_path.insert(0, Refuse)
"""


def only_light(folder: Path) -> Path:
    """Let the jobs of a checkout import no package that is not in the light environment."""
    light = generated.closure(generated.LIGHT)
    others = {
        name
        for name, made_by in packages_distributions().items()
        if not light & {canonicalize_name(one) for one in made_by}
        # Snakemake imports whatever plugins there are.
        and not name.startswith(("polyalign", "__editable__", "snakemake_executor_plugin_"))
    }
    assert {"torch", "transformers", "trl", "datasets", "huggingface_hub"} <= others
    # Python runs a module of this name when it starts, and jobs have this folder on their path.
    (folder / "workflow/sitecustomize.py").write_text(REFUSE.format(names=others))
    return folder


@pytest.fixture
def without_torch(checkout: Path) -> Path:
    return only_light(checkout)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the shipped study from scores."""
    folder = only_light(copy_checkout(tmp_path_factory.mktemp("shipped") / "checkout"))
    run(folder, "configs/scores-only.yaml", "all")
    return folder / "results/scores-only"


def run(folder: Path, config: str, *targets: str) -> None:
    done = snakemake(folder, "--cores", "2", "--configfile", config, "--", *targets)
    assert done.returncode == 0, done.stdout


def test_the_shipped_study_runs_to_its_report(shipped: Path) -> None:
    assert (shipped / "report.html").stat().st_size > 100_000
    found = (shipped / "plots/delivery.txt").read_text()
    assert found.startswith("Raised levels: ")
    # The page holds its texts as JSON.
    assert json.dumps(found)[1:-1] in (shipped / "report.html").read_text()
    summary = pd.read_csv(shipped / "tables/summary.csv")
    assert set(summary["family"]) == {"base", "map-d"}
    base = summary[summary["family"] == "base"].iloc[0]
    even = summary["variant"] == "even"
    for _, row in summary[(summary["family"] == "map-d") & ~even].iterrows():
        assert row["verdict"] == "supported"
        assert row["humor_level"] > base["humor_level"] or row["humor_lam"] == 0
        assert row["gpu_seconds"] == 0
    (own,) = summary[even].to_dict("records")
    assert [own[f"{value}_lam"] for value in ("humor", "helpful", "harmless")] == [0.5] * 3
    assert isinstance(own["verdict"], float), "no palette, no verdict"
    means = sum(own[f"{v}_level"] - base[f"{v}_level"] for v in ("humor", "helpful", "harmless"))
    assert means > 0
    methods = (shipped / "overview.html").read_text()
    assert "lam (even (humor: 0.5, helpful: 0.5, harmless: 0.5))" in methods
    assert (shipped / "plots/heat_map.pdf").read_bytes().startswith(b"%PDF")
    for table in ("winrates", "levels", "lambda", "quantiles", "realised_quantiles", "families"):
        assert r"\toprule" in (shipped / f"tables/{table}.tex").read_text()
        assert len(pd.read_csv(shipped / f"tables/{table}.csv"))
        assert "<tbody>" in (shipped / f"tables/{table}.html").read_text()
    assert (shipped / "tables/prompts.txt").read_text().endswith(" test prompts")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_every_table_compiles(shipped: Path, tmp_path: Path) -> None:
    tables = sorted((shipped / "tables").glob("*.tex"))
    inputs = "".join(f"\\input{{{table}}}\n\n" for table in tables)
    (tmp_path / "page.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}"
        f"\\begin{{document}}\\tiny {inputs}\\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@needs_browser
def test_the_report_opens_in_a_browser(shipped: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "configs/scores-only.yaml").read_text())
    with opened(shipped / "report.html", tmp_path / "profile") as driver:
        text, top = first_paragraph(driver)
        assert text.startswith("The outcome. ")
        assert top >= 0
        shown = figures_shown(driver)
        assert set(shown) == set(config["plots"])
        assert min(shown.values()) >= 1000
        assert search(driver, "palette_path") == ["palette_path"]
        assert faults(driver) == []


@needs_browser
def test_the_tables_are_read_sorted_and_searched_in_the_report(
    shipped: Path, tmp_path: Path
) -> None:
    with opened(shipped / "report.html", tmp_path / "profile") as driver:
        names = table_names(driver)
        assert {"win rates", "levels", "summary of all policies"} <= set(names)
        assert len(names) == 8
        open_table(driver, "win rates")
        rows = rows_shown(driver, 0)
        assert len(rows) == 6
        field = driver.find_element(By.CSS_SELECTOR, "input[type=search]")
        field.send_keys("-70")
        driver.find_element(By.XPATH, "//th/button[text()='Humor']").click()
        assert [text[:12] for text in rows_shown(driver, 0)] == ["map-dharmles", "map-dhumor-7"]
        driver.switch_to.default_content()
        assert faults(driver) == []


@needs_browser
def test_the_overview_sorts_and_filters(shipped: Path, tmp_path: Path) -> None:
    with opened(shipped / "overview.html", tmp_path / "profile") as driver:
        assert "Better than the base model" in driver.find_element(By.ID, "outcome").text
        part = driver.find_element(By.ID, "which-policies-are-better")

        def policies() -> list[str]:
            rows = part.find_elements(By.CSS_SELECTOR, "tbody tr")
            return [row.text.split()[0] for row in rows if row.is_displayed()]

        assert len(policies()) == 5
        field = part.find_element(By.CSS_SELECTOR, "input.filter")
        field.send_keys("HHH")
        assert [name[:10] for name in policies()] == ["map-d/hhh-", "map-d/hhh-"]
        field.clear()
        field.send_keys("-70")
        head = part.find_element(By.XPATH, ".//th/button[text()='Humor']")
        head.click()
        assert [name[:12] for name in policies()] == ["map-d/harmle", "map-d/humor-"]
        head.click()
        assert [name[:12] for name in policies()] == ["map-d/humor-", "map-d/harmle"]
        assert faults(driver) == []


@needs_browser
def test_a_broken_page_has_faults(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="lost.png"><script>nothing.here()</script>')
    with opened(page, tmp_path / "profile") as driver:
        assert len([fault for fault in faults(driver) if "favicon" not in fault]) == 2


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
