"""The server: OpenAI's chat completions for a study, over HTTP."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from polyalign.answer.answers import Answer, Answerer
from polyalign.answer.chat import (
    Chat,
    Limits,
    chunk,
    completion,
    finish,
    last_chunk,
    read_request,
)
from polyalign.answer.waiting import BusyError, Coming, Waiting
from polyalign.answer.ways import offered
from polyalign.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine for itself. A page from elsewhere that a browser shows has another one."""

HEALTH = "/healthz"


T = TypeVar("T")


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        message: what is wrong, what was expected, and what to do.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def make_app(answerer: Answerer, limits: Limits, *, host: str, token: str | None) -> FastAPI:
    """The server's application.

    Args:
        answerer: answers the requests.
        limits: what it takes.
        host: the address that it is bound to.
        token: what a client has to send as bearer token (None: nothing).
    """
    study = answerer.study
    waiting = Waiting(answerer, limits.waiting, answerer.at_once)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(waiting.close)

    def check(request: Request) -> None:
        if host in LOOPBACK and request.url.hostname not in LOOPBACK:
            raise RefusedError(403, f"this server answers as {', '.join(LOOPBACK)} alone")
        if token is not None and request.url.path != HEALTH:
            _check_token(request, token)

    # Pages of documentation would load scripts from elsewhere.
    app = FastAPI(
        title="polyalign", lifespan=running, openapi_url=None, dependencies=[Depends(check)]
    )

    @app.exception_handler(InputError)
    async def bad_input(request: Request, fault: InputError) -> JSONResponse:
        return error(400, str(fault))

    @app.exception_handler(RefusedError)
    async def refused(request: Request, fault: RefusedError) -> JSONResponse:
        return error(fault.status, str(fault))

    @app.exception_handler(BusyError)
    async def busy(request: Request, fault: BusyError) -> JSONResponse:
        return error(503, str(fault))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, fault: HTTPException) -> JSONResponse:
        paths = f"GET {HEALTH}, GET /v1/models, POST /v1/chat/completions"
        return error(
            fault.status_code,
            f"{request.method} {request.url.path[:100]}: {fault.detail}; expected one of {paths}",
        )

    @app.exception_handler(Exception)
    async def broken(request: Request, fault: Exception) -> JSONResponse:
        return error(500, _broken(fault))

    @app.get(HEALTH)
    async def health() -> dict[str, str]:
        return {"status": "ok", "study": study.study}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": study.study}
            for name in offered(study)
        ]
        return {"object": "list", "data": listed}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = read_request(await _body(request, limits.body), study, limits)
        if asked.stream:
            return await _stream(asked, request, waiting)
        coming = waiting.submit(asked.asked)
        answer = await _unless_gone(asyncio.wrap_future(coming), request, coming)
        return JSONResponse(completion(asked, answer, int(time.time())))

    return app


def error(status: int, message: str) -> JSONResponse:
    """An error in OpenAI's form."""
    return JSONResponse(_error(status, message), status)


def _error(status: int, message: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    # A message may quote half a character of the request, which JSON cannot hold.
    text = " ".join(message.encode(errors="backslashreplace").decode().split())
    return {"error": {"message": text, "type": kind, "param": None, "code": None}}


def _broken(fault: BaseException) -> str:
    return f"the server failed ({type(fault).__name__}: {str(fault)[:300]}); see its log"


def _check_token(request: Request, token: str) -> None:
    given = request.headers.get("authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {token}".encode()):
        raise RefusedError(
            401, "the bearer token is missing or wrong; send `Authorization: Bearer …`"
        )


async def _body(request: Request, most: int) -> bytes:
    """The body of a request, which is read only as far as it may be."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise RefusedError(
                    413, f"the body has more than {most} bytes; expected less; shorten it"
                )
    except ClientDisconnect as gone:
        raise RefusedError(400, "the connection ended within the body; send all of it") from gone
    return body


async def _unless_gone(hoped: Awaitable[T], request: Request, coming: Coming) -> T:
    """Wait for something; a client that goes meanwhile needs no answer."""

    async def leaves() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    here, gone = asyncio.ensure_future(hoped), asyncio.ensure_future(leaves())
    try:
        await asyncio.wait((here, gone), return_when=asyncio.FIRST_COMPLETED)
        if here.done():
            return here.result()
        coming.leave()
        raise RefusedError(499, "the client is gone")
    finally:
        here.cancel()
        gone.cancel()


async def _stream(chat: Chat, request: Request, waiting: Waiting) -> Response:
    """Server-sent events. What is wrong with a request is known before the first of them."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()

    def put(event: tuple[int, str] | None) -> None:
        # The loop may be closed: then nobody is there to be told.
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, event)

    future = waiting.submit(chat.asked, lambda place, text: put((place, text)))
    future.add_done_callback(lambda _: put(None))
    first = await _unless_gone(events.get(), request, future)
    if first is None and not future.cancelled() and (fault := future.exception()):
        raise fault
    created = int(time.time())

    async def sent() -> AsyncIterator[str]:
        shown = [""] * chat.asked.samples
        try:
            for index in range(chat.asked.samples):
                yield _event(chunk(chat, created, index, {"role": "assistant", "content": ""}))
            event = first
            while event is not None:
                place, text = event
                if more := _more(shown[place], text):
                    shown[place] += more
                    yield _event(chunk(chat, created, place, {"content": more}))
                event = await events.get()
            for line in _ending(chat, future.result(), shown, created):
                yield line
        except Exception as fault:  # the status is sent already, so the error is an event
            message = str(fault) if isinstance(fault, InputError | BusyError) else _broken(fault)
            yield _event(_error(500, message))
        finally:
            # A client that is gone needs no answer.
            future.leave()

    return StreamingResponse(sent(), media_type="text/event-stream")


def _more(shown: str, text: str) -> str:
    """What can be sent of a text that grows: whole words.

    The last word may still change: a tokenizer joins `do`, ` n't` and half characters.
    """
    whole = text[: max((place for place, one in enumerate(text) if one.isspace()), default=0)]
    return whole.rstrip()[len(shown) :] if whole.startswith(shown) else ""


def _ending(chat: Chat, answer: Answer, shown: list[str], created: int) -> list[str]:
    """The last events of a stream: what is left of each answer, then the rewards.

    Raises:
        RuntimeError: if the tokenizer changed a word that was sent already.
    """
    events = []
    for index, text in enumerate(answer.texts):
        if not text.response.startswith(shown[index]):
            raise RuntimeError("the tokenizer changed what it wrote; ask without `stream`")
        if rest := text.response[len(shown[index]) :]:
            events.append(_event(chunk(chat, created, index, {"content": rest})))
        events.append(_event(chunk(chat, created, index, {}, finish(text.truncated))))
    return [*events, _event(last_chunk(chat, answer, created)), "data: [DONE]\n\n"]


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
