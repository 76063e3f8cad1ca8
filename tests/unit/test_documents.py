"""What the README and the docs point to is there."""

import re
from pathlib import Path

import pytest

from polyalign import plots

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    named = re.findall(
        r"`((?:workflow|configs|docs|tests|benchmarks|profiles|envs)/[\w./-]+)`", text
    )
    for link in links:
        assert (page.parent / link).exists(), f"{page.name} links to {link}"
    for path in (path for path in named if "NAME" not in path):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    called = set(re.findall(r"`make (\w+)", text)) | set(re.findall(r"^    make (\w+)", text, re.M))
    assert called
    assert called <= targets


def test_the_gallery_has_every_figure() -> None:
    text = (ROOT / "docs/figures.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", text, re.M) == plots.names()
    for name in plots.names():
        assert (plots.module(name).__doc__ or "").splitlines()[0] in text
    sizes = [path.stat().st_size for path in (ROOT / "docs/figures/gallery").glob("*.png")]
    assert 0 < sum(sizes) < 1_000_000
