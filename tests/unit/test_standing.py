"""What others rely on to cite, to report and to release says the same everywhere."""

import re
from pathlib import Path
from typing import Any

import yaml

from polyalign import __version__

ROOT = Path(__file__).parents[2]


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_version_is_one() -> None:
    assert read("CITATION.cff")["version"] == __version__
    cited = (ROOT / "docs/citing.md").read_text(encoding="utf-8")
    assert f"version = {{{__version__}}}" in cited
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert versions[0] == __version__


def test_the_paper_is_cited_alike() -> None:
    (paper,) = read("CITATION.cff")["references"]
    cited = (ROOT / "docs/citing.md").read_text(encoding="utf-8")
    (authors,) = re.findall(r"author\s+= \{(Wang.*?)\}", cited, re.DOTALL)
    names = [" ".join(name.split()) for name in re.split(r"\s+and\s+", authors)]
    assert names == [f"{one['family-names']}, {one['given-names']}" for one in paper["authors"]]
    assert f"title     = {{{paper['title'].replace('MAP', '{MAP}')}}}" in cited
    assert f"year      = {{{paper['year']}}}" in cited
    assert paper["url"].rpartition("/")[2] in cited


def test_issue_templates_have_what_github_needs() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = read(str(path.relative_to(ROOT)))
        if path.name != "config.yml":
            assert {"name", "description", "body"} <= set(form)
            fields = [part["id"] for part in form["body"]]
            assert len(set(fields)) == len(fields)
            assert all(part["attributes"]["label"] for part in form["body"])


def test_a_release_is_tested_before_it_is_published() -> None:
    jobs = read(".github/workflows/release.yml")["jobs"]
    assert jobs["test"]["needs"] == "build"
    assert jobs["publish"]["needs"] == "test"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
