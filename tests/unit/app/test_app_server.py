"""The app's server: 20 explorers at once, and what it refuses."""

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import pytest
from answerdata import make_study
from serving import served
from test_exploring import NAMES, frame

from polyalign.app import shown
from polyalign.app.moving import PATH, Moves
from polyalign.app.tables import read_tables
from polyalign.cli.app import main

EXPLORERS, MOVES = 20, 3


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("served") / "rewards.csv"
    frame(60, 8).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def address(path: Path) -> Iterator[str]:
    with served([str(path)]) as where:
        yield where


def test_explorers_at_once_see_their_own_palettes(path: Path, address: str) -> None:
    (table,) = read_tables([str(path)])
    problem = table.problem("prompt", NAMES)

    def explore(number: int) -> list[tuple[str, str]]:
        pairs = []
        query = ""
        for move in range(MOVES):
            position = round(problem.base.center[1] + 0.02 * (1 + number + 20 * move), 2)
            sent = moves(address, query, ("helpful", position))
            query = sent["query"]
            level = problem.level(1, position, "raw")
            asked = problem.move({**dict.fromkeys(NAMES, "mean"), "helpful": level})
            pairs.append((sent["parts"]["numbers"], shown.numbers_html(problem, asked, {})))
        return pairs

    with ThreadPoolExecutor(EXPLORERS) as pool:
        found = [pair for pairs in pool.map(explore, range(EXPLORERS)) for pair in pairs]
    assert len({seen for seen, _ in found}) == EXPLORERS * MOVES
    for seen, expected in found:
        assert seen == expected


def test_moves_are_answered_one_after_the_other_first_come_first_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running, most, order = 0, 0, []

    def slow(tables: object, query: str) -> dict[str, str]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        order.append(query)
        running -= 1
        return {}

    async def none(*words: object) -> None: ...

    async def all_at_once() -> None:
        asked = [
            {"type": "http", "path": PATH, "query_string": f"{i}".encode(), "headers": []}
            for i in range(12)
        ]
        await asyncio.gather(*(answers({**one, "server": ("a", 1)}, none, none) for one in asked))

    monkeypatch.setattr("polyalign.app.moving.moved", slow)
    answers = Moves(none, [])
    asyncio.run(all_at_once())
    assert most == 1
    assert order == [f"{i}" for i in range(12)]


def moves(address: str, query: str, *moved: tuple[str, object]) -> dict:
    """What the page's script is sent for moved sliders."""
    words = [("moved", f"{name}={position}") for name, position in moved]
    answer = answered(address, "GET", f"{PATH}?{query}&{urlencode(words)}")
    return json.load(answer)


def test_sliders_that_moved_together_are_answered_together(path: Path, address: str) -> None:
    (table,) = read_tables([str(path)])
    problem = table.problem("prompt", NAMES)
    first = moves(address, "units=raw&scope=prompt", ("humor", 0.05))
    both = moves(address, first["query"], ("helpful", 0.1), ("humor", 0.1))
    levels = {name: problem.level(NAMES.index(name), 0.1, "raw") for name in ("humor", "helpful")}
    asked = problem.move({**dict.fromkeys(NAMES, "mean"), **levels})
    assert both["parts"]["numbers"] == shown.numbers_html(problem, asked, {})
    assert both["parts"]["verdict"] == shown.verdict_html(asked)
    # The address says all: without a move it shows the same.
    assert moves(address, both["query"]) == both


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("moved=humour%3D1", "moved=humour=1: is no position of a slider; expected one of humor"),
        ("moved=humor%3Dnan", "is no position of a slider"),
        ("moved=humor", "is no position of a slider"),
        ("level=humor%3D%3Cimg%3E", "&lt;img&gt;"),
        ("table=other", "no table"),
        ("units=miles", "expected one of raw"),
        ("%ff%00&&=&level", "no value"),
    ],
)
def test_a_wrong_move_is_one_sentence(address: str, query: str, words: str) -> None:
    answer = answered(address, "GET", f"{PATH}?{query}")
    assert answer.status == 400
    fault = json.load(answer)["fault"]
    assert words in fault
    assert "<img" not in fault


def answered(
    address: str, method: str, path: str, headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.request(method, path, body=b"x" if method == "POST" else None, headers=headers or {})
    return connection.getresponse()


def test_a_study_with_models_has_both_tabs(tmp_path: Path, path: Path, address: str) -> None:
    make_study(tmp_path, "tabs_reward")
    pool = frame(12, 4).set_axis(["prompt", "vowels", "diversity", "fluency"], axis="columns")
    pool["prompt_id"], pool["split"] = pool["prompt"], "fit"
    pool["candidate"] = pool.groupby("prompt").cumcount()
    folder = tmp_path / "results/tiny/policies/base/pool"
    folder.mkdir(parents=True, exist_ok=True)
    pool.to_parquet(folder / "rewards.parquet")

    def tabs(where: str) -> list[str]:
        with urlopen(f"{where}/config", timeout=60) as answer:
            parts = json.load(answer)["components"]
        return [part["props"]["label"] for part in parts if part["type"] == "tabitem"]

    with served(["--study", "results/tiny"], cwd=str(tmp_path)) as where:
        assert tabs(where) == ["Palette explorer", "Side by side"]
    assert tabs(address) == ["Palette explorer"]


def test_uploads_and_foreign_pages_are_refused(address: str) -> None:
    for prefix in ("", "/gradio_api"):
        assert answered(address, "POST", f"{prefix}/upload").status == 403
        assert answered(address, "POST", f"{prefix}/upload/").status == 403
    assert answered(address, "GET", "/", {"Host": "evil.example"}).status == 400
    page = answered(address, "GET", "/")
    assert page.status == 200
    assert "connect-src 'self'" in (page.getheader("content-security-policy") or "")
    for hidden in ("/docs", "/openapi.json"):
        assert b"swagger" not in answered(address, "GET", hidden).read().lower()
    assert answered(address, "GET", "/gradio_api/file=/etc/passwd").status in (403, 404)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to explore"),
        (["absent.csv"], "absent.csv"),
        (["--study", "results/absent"], "has no config.json"),
        (["--port", "many", "x.csv"], "--port"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_port_that_is_taken_is_one_line(
    path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(urlsplit(address).port)
    assert main([str(path), "--port", port]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {port} of 127.0.0.1 cannot be used" in line
