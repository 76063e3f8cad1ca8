"""What stands on the pages is true of the code: commands, words, messages, names, examples."""

import argparse
import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pages import PAGES, ROOT, Command, blocks, commands
from snakemake.cli import get_argument_parser

from polyalign import families, plots, rewards
from polyalign.cli import COMMANDS, main

DOCS = ROOT / "docs"
LIBRARY = ROOT / "workflow"
FOUND = [command for page in PAGES for command in commands(page)]


def said(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(page: str) -> list[list[str]]:
    """Cells of the rows of the tables of a page, without their heads."""
    lines = [line for line in said(page).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    heads = {i for i, line in enumerate(lines[1:]) if set(line) <= set("|-: ")}
    return [row for i, row in enumerate(cells) if i not in heads and i - 1 not in heads]


class ParsedError(Exception):
    """The arguments of a command are right."""


def parsed(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether `polyalign` understands a command line; nothing of it runs."""
    parse = argparse.ArgumentParser.parse_args

    def only_parse(self: Any, *args: Any, **options: Any) -> None:
        parse(self, *args, **options)
        raise ParsedError

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
        try:
            main(list(words))
        except ParsedError:
            return True
        except SystemExit as end:
            return end.code in (0, None)
    return False


def ids(command: Command) -> str:
    return f"{command.page}:{' '.join(command.words)[:60]}"


OURS = sorted({c for c in FOUND if c.words[0] == "polyalign"}, key=ids)


def test_there_are_many_commands() -> None:
    assert len(OURS) > 60
    assert len(FOUND) > 120


def test_every_command_of_polyalign_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in OURS:
        words = command.words[1:]
        if words[0] in ("COMMAND", "--version"):
            continue
        assert words[0] in COMMANDS, ids(command)
        # In the text a command may be named by its name, or with an option that is spoken of.
        spoken_of = "…" in words or len(words) == 1 or words[-1].startswith("--")
        if command.block or not spoken_of:
            assert parsed(words, monkeypatch), ids(command)


def test_a_command_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not parsed(("solve", "t.csv", "--traget", "humor=q60"), monkeypatch)
    assert not parsed(("solve",), monkeypatch)
    assert not parsed(("why", "--no-such-option"), monkeypatch)


def test_every_call_of_snakemake_is_understood() -> None:
    calls = [c for c in FOUND if c.words[0] == "snakemake" and not c.needs_cluster]
    assert len(calls) > 10
    for call in calls:
        get_argument_parser().parse_args(list(call.words[1:]))


def test_what_needs_a_cluster_says_so() -> None:
    needing = [command for command in FOUND if command.needs_cluster]
    assert needing
    for command in needing:
        assert command.page == "docs/cluster.md" or "cluster" in command.around, ids(command)


def test_every_other_program_finds_what_it_is_called_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w./-]+):", makefile, re.MULTILINE))
    for command in FOUND:
        program, first = command.words[:2]
        if program == "make":
            assert first in targets, ids(command)
        elif program == "python" and first != "-m" and first != "SCRIPT":
            assert (ROOT / first).is_file(), ids(command)
        elif program == "pip":
            extra = re.fullmatch(r"polyalign\[(\w+)\]", command.words[2])
            if extra:
                assert extra[1] in project["optional-dependencies"], ids(command)


def test_the_first_page_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """On the table of the checkout; the commands of a whole study are those of `make run`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    ran = []
    for command in commands(DOCS / "start.md"):
        if command.words[0] == "polyalign" and "configs/data/sandbox-rewards.csv" in command.words:
            ran.append(command.words[1])
            status = main(list(command.words[1:]))
            assert status == (3 if command.words[1] == "feasible" else 0), command.words
    assert ran == ["solve", "feasible", "choose"]
    assert "in conflict: humor, helpful" in capsys.readouterr().out
    assert (tmp_path / "chosen.csv").is_file()


# Words, names and messages.


@cache
def module(dotted: str) -> tuple[Path, list[str]] | None:
    """The file of the longest module that a dotted name begins with, and the rest of the name."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        place = LIBRARY.joinpath(*parts[:end])
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file, parts[end:]
    return None


def defined(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Names that statements define → the statements within each."""
    found: dict[str, list[ast.stmt]] = {}
    for line in body:
        if isinstance(line, ast.FunctionDef | ast.ClassDef):
            found[line.name] = line.body
        targets = line.targets if isinstance(line, ast.Assign) else []
        targets = [line.target] if isinstance(line, ast.AnnAssign) else targets
        found |= {target.id: [] for target in targets if isinstance(target, ast.Name)}
        if isinstance(line, ast.ImportFrom):
            found |= {alias.asname or alias.name: [] for alias in line.names}
    return found


def exists(dotted: str) -> bool:
    """Whether a dotted name of the library is there; nothing is imported."""
    found = module(dotted)
    if found is None:
        return False
    file, names = found
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for name in names:
        inner = defined(body)
        if name not in inner:
            return False
        body = inner[name]
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_the_library_exist(page: Path) -> None:
    for name in re.findall(r"`(polyalign(?:\.\w+)+)`", page.read_text(encoding="utf-8")):
        assert exists(name), f"{page.name} names {name}"


def test_a_name_that_is_not_there_is_found_out() -> None:
    assert exists("polyalign.families.Policy.parse")
    assert not exists("polyalign.families.Policy.prase")
    assert not exists("polyalign.mop.dual")


def keys_of_the_config() -> set[str]:
    """Every key of the config, with a dot between a section's and its own."""
    schema = json.loads((LIBRARY / "schemas/config.schema.json").read_text())
    found = set()
    for key, about in schema["properties"].items():
        found.add(key)
        for part in [about, *about.get("anyOf", [])]:
            name = part.get("$ref", "").rpartition("/")[2]
            section = schema["$defs"].get(name, {})
            found |= {f"{key}.{inner}" for inner in section.get("properties", {})}
    return found


def test_words_are_those_of_the_code() -> None:
    words = rows("glossary.md")
    terms = {row[0] for row in words}
    assert terms >= {
        *("value", "level", "palette", "λ", "family", "variant", "policy", "pool", "scope"),
        *("split", "supported", "delivered"),
    }
    keys = keys_of_the_config()
    for term, _, home in words:
        name = home.strip("`")
        assert exists(name) if name.startswith("polyalign.") else name in keys, (term, name)


def test_counterparts_are_there() -> None:
    text = said("correspondence.md")
    for what, known in (
        (r"`kind: (\w+)`", rewards.KINDS),
        (r"famil\w+ `([\w-]+)`", families.NAMES),
        (r"figures? `(\w+)`", plots.names()),
    ):
        named = set(re.findall(what, text))
        assert named, what
        assert named <= set(known)


def messages() -> str:
    """All texts of the library; … stands for what is put into them."""
    found = []
    for file in (LIBRARY / "polyalign").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_error_messages_are_those_of_the_code() -> None:
    quoted = re.findall(r"^### `(.+)`$", said("faq.md"), re.MULTILINE)
    assert len(quoted) > 10
    known = messages()
    # A sentence may be put together from a name and what is wrong with it.
    missing = [text for text in quoted if text not in known and text.strip("… ") not in known]
    assert not missing


# Examples.


def test_the_example_of_the_api_runs(capsys: pytest.CaptureFixture) -> None:
    (example,) = blocks(said("api.md"), "python")
    exec(compile(example, "api.md", "exec"), {})
    assert capsys.readouterr().out.startswith("supported ")


def test_members_of_the_api_exist() -> None:
    parts = re.findall(r"^::: (\S+)\n    options: \{members: \[(.+)\]\}$", said("api.md"), re.M)
    assert len(parts) == said("api.md").count(":::")
    for place, members in parts:
        for member in members.split(", "):
            assert exists(f"{place}.{member}"), f"{place}.{member}"


@pytest.mark.parametrize("page", ["own-kind", "own-family"])
def test_examples_of_extensions_are_those_that_a_test_runs(page: str) -> None:
    """tests/workflow/test_extensions.py; there they also cite somebody."""
    extensions = (ROOT / "tests/workflow/test_extensions.py").read_text(encoding="utf-8")
    cited = re.sub(r"\n\n    Reference: Doe: [^\n]+\n    ", "", extensions)
    (example,) = blocks(said(f"guides/{page}.md"), "python")
    assert example in cited


def test_pages_of_the_site_are_all_in_its_contents() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert listed == {page.relative_to(DOCS).as_posix() for page in PAGES[1:]}
