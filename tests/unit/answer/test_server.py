"""The server with the official client, with hostile clients, and while it ends."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the dependency group `serve`")
uvicorn = pytest.importorskip("uvicorn", reason="needs the dependency group `serve`")

from polyalign import rewards  # noqa: E402
from polyalign.answer.answers import Answer, Answerer, as_json  # noqa: E402
from polyalign.answer.chat import Limits  # noqa: E402
from polyalign.answer.server import _more, make_app  # noqa: E402
from polyalign.answer.ways import LEARNT, ask, way_of_lam, way_of_palette, way_of_policy  # noqa: E402
from polyalign.errors import InputError  # noqa: E402
from polyalign.study import Study  # noqa: E402

LIMITS = Limits(candidates=50, body=5000)
TOKEN = "a-token"


class Running:
    """A server in a thread, and raw requests to it."""

    def __init__(self, answerer: Answerer, token: str | None) -> None:
        app = make_app(answerer, LIMITS, host="127.0.0.1", token=token)
        config = uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=5)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()))
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def raw(self, text: bytes) -> bytes:
        """What comes back for bytes that are sent as they are, until the server is done."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(text)
            found = b""
            while part := connection.recv(65536):
                found += part
        return found

    def post(self, body: bytes, *headers: str, path: str = "/v1/chat/completions") -> tuple:
        """Status and JSON of a request."""
        lines = [f"POST {path} HTTP/1.1", "Connection: close", f"Content-Length: {len(body)}"]
        if not any(line.startswith("Host:") for line in headers):
            lines.append("Host: 127.0.0.1")
        head = "\r\n".join([*lines, *headers]) + "\r\n\r\n"
        answer = self.raw(head.encode() + body)
        status, _, content = answer.partition(b"\r\n\r\n")
        return int(status.split()[1]), json.loads(content)


@pytest.fixture(scope="module")
def server(answerer: Answerer) -> Iterator[Running]:
    running = Running(answerer, None)
    yield running
    running.stop()


def test_it_can_be_asked_as_a_judge(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    settings = {
        "kind": "judge",
        "endpoint": f"http://127.0.0.1:{server.port}/v1",
        "model": "base/base",
        "rubric": "b {response}",
        "low": 0.0,
        "high": 1.0,
        "unscored": 0.5,
        "folder": str(tmp_path),
    }
    # A tiny model gives no score; its answers are kept.
    own = {"temperature": None, "max_tokens": None, "seed": 3}
    assert rewards.load(settings | own)(["p"], ["c"]).tolist() == [0.5]
    kept = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert {(one["question"], one["model"]) for one in kept} == {("b c", "base/base")}
    with pytest.raises(InputError, match=r"temperature is 0; expected 1\.3"):
        rewards.load(settings)(["p"], ["c"])


def body(**keys: object) -> bytes:
    asked = {"model": "base/base", "messages": [{"role": "user", "content": "b c"}], **keys}
    return json.dumps(asked).encode()


@pytest.fixture(scope="module")
def client(server: Running):
    openai = pytest.importorskip("openai", reason="needs the official client `openai`")
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0
    ) as made:
        yield made


USER = [{"role": "user", "content": "b c"}]


def test_models_are_the_policies_and_palettes(client) -> None:
    made = [
        "base/base",
        "map-d/open",
        "map-d/own",
        "best-of/open",
        "token-d/open",
        "token-d/guided",
        "value-d/open",
        "value-d/learnt",
        "rloo/open",
    ]
    assert [model.id for model in client.models.list()] == [*made, "open"]


@pytest.mark.parametrize(
    "model", ["base/base", "rloo/open", "open", "token-d/guided", "value-d/open"]
)
def test_the_server_answers_as_the_library(
    client, answerer: Answerer, study: Study, model: str
) -> None:
    sent = client.chat.completions.create(model=model, messages=USER, n=3, seed=4)
    way = way_of_palette(study, model) if model == "open" else way_of_policy(study, model)
    (answer,) = answerer.answer([ask(study, "b c", way, seed=4, samples=3)])
    texts = [text.response for text in answer.texts]
    assert [choice.message.content for choice in sent.choices] == texts
    assert sent.polyalign == as_json(answer)
    assert sent.polyalign["answers"][0]["rewards"] == answer.texts[0].rewards
    assert sent.model == model


def test_lam_changes_with_the_request(client) -> None:
    def vowels(weight: float) -> float:
        extra = {"lam": {"vowels": weight}, "candidates": 40}
        sent = client.chat.completions.create(
            model="base/base", messages=USER, n=50, seed=4, extra_body=extra
        )
        assert len(sent.polyalign["candidates"]) == 40
        assert sent.polyalign["lam"] == {"vowels": weight}
        rewards = [answer["rewards"]["vowels"] for answer in sent.polyalign["answers"]]
        return sum(rewards) / len(rewards)

    assert vowels(0.0) < vowels(1.0) < vowels(10.0)


def test_the_value_model_steers_by_the_lam_of_the_request(
    client, answerer: Answerer, study: Study
) -> None:
    lams = [{"vowels": 0.5}, {"vowels": 3.0, "diversity": 1.0}]
    for lam in lams:
        sent = client.chat.completions.create(
            model="value-d", messages=USER, n=5, seed=4, extra_body={"lam": lam}
        )
        way = way_of_lam(study, lam, by=LEARNT)
        (answer,) = answerer.answer([ask(study, "b c", way, seed=4, samples=5)])
        assert sent.polyalign == as_json(answer)
        assert sent.polyalign["lam"] == lam


@pytest.mark.parametrize("model", ["base/base", "open", "rloo/open"])
def test_a_stream_is_the_answer_in_parts(client, model: str) -> None:
    whole = client.chat.completions.create(model=model, messages=USER, n=2, seed=8)
    stream = client.chat.completions.create(
        model=model, messages=USER, n=2, seed=8, stream=True, stream_options={"include_usage": True}
    )
    texts, ends, parts = ["", ""], ["", ""], 0
    for event in stream:
        for choice in event.choices:
            texts[choice.index] += choice.delta.content or ""
            ends[choice.index] += choice.finish_reason or ""
            parts += bool(choice.delta.content)
        last = event
    assert texts == [choice.message.content for choice in whole.choices]
    assert ends == [choice.finish_reason for choice in whole.choices]
    assert last.polyalign == whole.polyalign
    assert last.usage == whole.usage
    if model != "open":
        assert parts > 2


def test_words_are_sent_when_they_are_whole() -> None:
    assert _more("", "do n") == "do"
    assert _more("", "don't") == ""
    assert _more("do", "do it ") == " it"
    assert _more("do n", "don't go ") == ""


def test_several_at_once_are_answered_as_alone(
    server: Running, answerer: Answerer, study: Study
) -> None:
    models = ["base/base", "open", "token-d/guided", "rloo/open"] * 4
    with ThreadPoolExecutor(16) as pool:
        sent = list(
            pool.map(lambda pair: server.post(body(model=pair[1], seed=pair[0])), enumerate(models))
        )
    for seed, (model, (status, found)) in enumerate(zip(models, sent, strict=True)):
        way = way_of_palette(study, model) if model == "open" else way_of_policy(study, model)
        (alone,) = answerer.answer([ask(study, "b c", way, seed=seed)])
        assert status == 200
        assert found["choices"][0]["message"]["content"] == alone.texts[0].response


HOSTILE = {
    "an unknown palette": (body(palette="opne"), 400, "write 'open'"),
    "K = 10^9": (body(model="open", candidates=10**9), 400, "from 1 to 50"),
    "too long for the model": (
        body(messages=[{"role": "user", "content": "a " * 100}]), 400, "expected at most 18",
    ),
    "too long, streamed": (
        body(messages=[{"role": "user", "content": "a " * 100}], stream=True), 400, "at most 18",
    ),
    "invalid UTF-8": (b'{"model": "\xff"}', 400, "JSON object in UTF-8"),
    "deeply nested": (b"[" * 4000, 400, "JSON object in UTF-8"),
    "half a character as a key": (b'{"\\ud800": 1}', 400, "unicode string"),
    "half a character as a model": (body(model="\ud800"), 400, "no policy"),
    "a huge body": (body(user="x" * 10_000), 413, "more than 5000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_bad_request_is_one_clear_error(server: Running, case: str) -> None:
    sent, status, message = HOSTILE[case]
    found, answer = server.post(sent)
    assert found == status
    assert set(answer) == {"error"}
    assert message in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]
    assert server.post(body(seed=1))[0] == 200


def test_a_body_without_a_length_is_bounded(server: Running) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    )
    part = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    assert b" 413 " in server.raw(head + b"Connection: close\r\n\r\n" + 3 * part + b"0\r\n\r\n")


def test_unknown_paths_are_errors(server: Running) -> None:
    status, answer = server.post(b"{}", path="/v1/embeddings")
    assert status == 404
    assert "expected one of GET /healthz" in answer["error"]["message"]
    assert server.post(b"{}", path="/v1/models")[0] == 405
    assert server.post(b"{}", path="/docs")[0] == 404


def test_a_page_from_elsewhere_is_refused(server: Running) -> None:
    assert server.post(body(), "Host: evil.example")[0] == 403
    assert server.post(body(seed=1), "Host: localhost:80")[0] == 200


def test_dropped_connections_change_nothing_for_others(server: Running) -> None:
    before = server.post(body(model="open", seed=1))
    whole = body(model="open", stream=True, n=40, candidates=50)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(whole)}"
    for kept in (whole, whole[:40]):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(head.encode() + b"\r\n\r\n" + kept)
    after = server.post(body(model="open", seed=1))
    assert after[0] == 200
    assert after[1]["polyalign"] == before[1]["polyalign"]


class Endless:
    """Answers when nobody waits any more."""

    def __init__(self, study: Study) -> None:
        self.study, self.at_once = study, 8
        self.begun, self.left = threading.Event(), threading.Event()

    def answer(self, asked, told, gone):
        self.begun.set()
        end = time.monotonic() + 20
        while not gone(0) and time.monotonic() < end:
            time.sleep(0.01)
        if gone(0):
            self.left.set()
        return [Answer(one, 1, [], [], []) for one in asked]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_whose_client_is_gone_is_not_computed(study: Study, stream: bool) -> None:
    endless = Endless(study)
    running = Running(endless, None)  # type: ignore[arg-type]
    try:
        sent = body(model="open", stream=stream)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}"
        )
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n")
            connection.sendall(sent)
            assert endless.begun.wait(20)
        assert endless.left.wait(20)
    finally:
        running.stop()


def test_the_server_is_healthy(server: Running) -> None:
    found = server.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert json.loads(found.partition(b"\r\n\r\n")[2]) == {"status": "ok", "study": "tiny"}


def test_a_token_is_asked_for_and_the_server_ends(answerer: Answerer) -> None:
    running = Running(answerer, TOKEN)
    try:
        for header in ("X-Nothing: 1", "Authorization: Bearer other", f"Authorization: {TOKEN}"):
            status, answer = running.post(body(), header)
            assert status == 401
            assert TOKEN not in answer["error"]["message"]
        assert running.post(body(), f"Authorization: Bearer {TOKEN}")[0] == 200
        found = running.raw(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert b" 200 " in found
    finally:
        running.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", running.port))
