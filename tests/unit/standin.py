"""A stand-in for the servers of others: it notes what it is asked, and answers as a test says."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

SECRET = "sk-very-secret-4711"


@dataclass(frozen=True)
class Reply:
    """What is sent back.

    Attributes:
        body: JSON-ready, or bytes as they are.
        status: of HTTP.
        headers: more headers.
        missing: bytes that are announced and never sent.
        delay: seconds before anything is sent.
        hang_up: end the connection without a reply.
    """

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    delay: float = 0.0
    hang_up: bool = False


def chat(content: Any, finish: str | None = "stop", **more: Any) -> Reply:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    body = {"model": "judge-1-0", "choices": [{**choice, "finish_reason": finish}], "usage": usage}
    return Reply(body, **more)


class StandIn:
    """A server.

    Attributes:
        url: its address.
        asked: the JSON of each request, in order.
        keys: the `Authorization` of each.
        paths: the path of each.
        answer: makes the reply to a request from its JSON and its number, from 0.
    """

    def __init__(self, url: str, answer: Callable[[Any, int], Reply]) -> None:
        self.url, self.answer = url, answer
        self.asked: list[Any] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.lock = threading.Lock()

    def questions(self) -> list[str]:
        """What judges were asked."""
        return [body["messages"][0]["content"] for body in self.asked]


@contextmanager
def stand_in(answer: Callable[[Any, int], Reply]) -> Iterator[StandIn]:
    """A server on this machine while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with made.lock:
                number = len(made.asked)
                made.asked.append(body)
                made.keys.append(self.headers.get("Authorization"))
                made.paths.append(self.path)
            reply = made.answer(body, number)
            time.sleep(reply.delay)
            if reply.hang_up:
                self.close_connection = True
                return
            sent = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            try:
                self.send_response(reply.status)
                for name, text in reply.headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(sent) + reply.missing))
                self.end_headers()
                self.wfile.write(sent)
            except OSError:
                pass  # the client has gone

        def log_message(self, *args: Any) -> None:
            pass

    with (
        pytest.MonkeyPatch.context() as patch,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        patch.setenv("no_proxy", "*")
        made = StandIn(f"http://127.0.0.1:{server.server_port}/v1", answer)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        server.shutdown()
