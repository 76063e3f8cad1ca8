"""The app's server: 20 explorers at once, and what it refuses."""

import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from gradio_client import Client
from serving import served
from test_exploring import NAMES, frame

from polyalign.app import shown
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
        client = Client(address, verbose=False, analytics_enabled=False)
        client.predict(api_name="/opened")
        pairs = []
        for move in range(MOVES):
            position = round(problem.base.center[1] + 0.02 * (1 + number + 20 * move), 2)
            _, numbers, *_ = client.predict(position, api_name="/move_1")
            level = problem.level(1, position, "raw")
            asked = problem.move({**dict.fromkeys(NAMES, "mean"), "helpful": level})
            pairs.append((numbers, shown.numbers_html(problem, asked, {})))
        return pairs

    with ThreadPoolExecutor(EXPLORERS) as pool:
        found = [pair for pairs in pool.map(explore, range(EXPLORERS)) for pair in pairs]
    assert len({seen for seen, _ in found}) == EXPLORERS * MOVES
    for seen, expected in found:
        assert seen == expected


def answered(
    address: str, method: str, path: str, headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.request(method, path, body=b"x" if method == "POST" else None, headers=headers or {})
    return connection.getresponse()


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
