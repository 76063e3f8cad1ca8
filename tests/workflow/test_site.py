"""The site is built with strict links, takes nothing from elsewhere, and works opened from disk."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from browser import PATIENCE, faults, needs_browser, opened
from conftest import REPOSITORY
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

MKDOCS = shutil.which("mkdocs", path=f"{REPOSITORY}/.site-venv/bin{os.pathsep}{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(MKDOCS is None, reason="no mkdocs: call `make site` first")
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']?(https?:[^"' >]+)"""
    r"""|<link[^>]+href=["']?(https?:[^"' >]+)|url\(["']?(https?:[^"')]+)""",
)
"""What a browser fetches from elsewhere when it shows a page; not links that people follow."""


def mkdocs(config: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(MKDOCS), "build", "--config-file", str(config), "--site-dir", str(site)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    done = mkdocs(REPOSITORY / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for file in [*pages, *site.rglob("*.css")]:
        found = LOADED.findall(file.read_text(encoding="utf-8"))
        assert not found, (file.name, found)


def test_the_api_has_signatures_and_docstrings(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    assert 'id="polyalign.map.dual.solve"' in text
    assert "levels asked for, in the rewards" in text


def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path) -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("[lost](lost.md)")
    (tmp_path / "mkdocs.yml").write_text(text.partition("\nnav:")[0])
    done = mkdocs(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "lost.md" in done.stderr


@needs_browser
def test_the_site_works_opened_from_disk(site: Path, tmp_path: Path) -> None:
    """Links, pictures and the search, without a server and without a network."""
    with opened(site / "index.html", tmp_path / "profile") as driver:
        wait = WebDriverWait(driver, PATIENCE)
        driver.find_element(By.LINK_TEXT, "The idea in three pictures").click()
        wait.until(lambda page: "three pictures" in page.title)
        widths = "return [...document.images].map(image => image.naturalWidth)"
        assert len(driver.execute_script(widths)) == 3
        assert min(driver.execute_script(widths)) > 100
        driver.execute_script("document.querySelector('.md-search__input').focus()")
        driver.find_element(By.CSS_SELECTOR, ".md-search__input").send_keys("jackknife")
        found = wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".md-search-result h1"))
        assert "The mathematics" in found[0].get_attribute("textContent")
        assert faults(driver) == []
