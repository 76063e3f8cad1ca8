"""What the README and the docs point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    named = re.findall(
        r"`((?:workflow|configs|docs|tests|benchmarks|profiles|envs)/[\w./-]+)`", text
    )
    for link in links:
        assert (page.parent / link).exists(), f"{page.name} links to {link}"
    for path in named:
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    called = set(re.findall(r"`make (\w+)", text)) | set(re.findall(r"^    make (\w+)", text, re.M))
    assert called
    assert called <= targets
