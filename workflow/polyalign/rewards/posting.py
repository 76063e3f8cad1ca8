"""Requests to a server of somebody else: JSON over HTTP, tried again where that can help.

The key of the server is read from the environment, sent in one header, and kept nowhere.
"""

import http.client
import json
import os
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from time import sleep, time
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import AfterValidator, Field

from polyalign.errors import InputError
from polyalign.settings import Positive, Strict

Answer = TypeVar("Answer")

TRIES = 6
"""How often one request is sent, at most."""

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds before the second try, which double with each further one, and the most that a server may
ask to wait."""

AGAIN = (408, 409, 425, 429)
"""Statuses below 500 that say: try again."""

REFUSED = (401, 403)
"""Statuses of a wrong key; some servers repeat it in their reply, which is then not shown."""


def _endpoint(url: str) -> str:
    """Refuse what is no address, and secrets in one; the message does not repeat them."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"{url!r} is no address of a server; expected one such as http://127.0.0.1:8000/v1; "
            "correct it"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "the address has a name, a password or a query, where keys may stand; expected none, "
            "since it is written into results; write the address alone, and give the key by key_env"
        )
    return url.rstrip("/")


def _key_env(name: str) -> str:
    """Refuse what is no usual name of a variable, such as a key; the message does not repeat it."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name):
        raise ValueError(
            "is no name of an environment variable; expected capitals, digits and _, such as "
            "JUDGE_KEY; write the name here, and the key itself only into that variable"
        )
    return name


class Remote(Strict):
    """A server that is asked over HTTP."""

    CONDUCT: ClassVar[tuple[str, ...]] = ("key_env", "timeout")
    """Settings that change no answer."""

    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        description="Address of the server, without any key."
    )
    key_env: Annotated[str, AfterValidator(_key_env)] | None = Field(
        default=None,
        description="Name of the environment variable with the server's key, sent as `Bearer` "
        "(default: no key). The key itself must not stand in a config.",
    )
    timeout: Positive = Field(
        default=60.0, description="Seconds that the server may be silent before it is asked again."
    )


class HalfReplyError(Exception):
    """A reply that is no answer; the same request may get one."""


class _NoRedirects(HTTPRedirectHandler):
    """A redirect is an error: Python would send the key along to whatever address it names."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


class Server:
    """A server, its address and its key.

    Args:
        remote: the section of the config.
        path: what follows the address.

    Raises:
        InputError: if the environment has no usable key where one is named.
    """

    def __init__(self, remote: Remote, path: str = "") -> None:
        self.url = remote.endpoint + path
        self.timeout = remote.timeout
        self._key = key_of(remote)
        self._opener = build_opener(_NoRedirects)

    def ask(
        self,
        body: dict[str, Any],
        read: Callable[[Any], Answer],
        before: Callable[[], None] = lambda: None,
    ) -> Answer:
        """What `read` makes of the reply to a request.

        Args:
            body: the request, JSON-ready.
            read: makes an answer of the reply's JSON; raises `HalfReplyError` on half a reply.
            before: called before each time that the request is sent.

        Raises:
            InputError: if the server refuses, or does not answer in `TRIES` tries.
        """
        pause = FIRST_PAUSE
        for tried in range(1, TRIES + 1):
            before()
            wait = None
            try:
                return read(self._send(body))
            except InputError:
                raise
            except HTTPError as fault:
                with fault:
                    said = self._said(fault)
                    wait = _retry_after(fault.headers.get("Retry-After"))
                if fault.code not in AGAIN and fault.code < 500:
                    raise InputError(
                        f"{self.url} answers {said}; expected an answer to a POST of JSON; correct "
                        "endpoint, key_env or the other settings of the server"
                    ) from None
            # A dead or slow connection, half a body, a body that is no JSON, half an answer.
            except (OSError, http.client.HTTPException, ValueError, HalfReplyError) as fault:
                said = self._hidden(f"{type(fault).__name__}: {fault}")
            if tried == TRIES or (wait or 0) > LONGEST_PAUSE:
                break
            sleep(pause if wait is None else wait)
            pause *= 2
        asked = "" if wait is None or tried == TRIES else f" and asks for a pause of {wait:.0f} s"
        raise InputError(
            f"{self.url} gave no answer in {tried} tries{asked} (at last {said}); what it answered "
            "before is kept; see to the server, then run the same command again"
        )

    def _send(self, body: dict[str, Any]) -> Any:
        """The JSON that a POST of JSON is answered with.

        Raises:
            HTTPError: on a status of 300 or more.
            OSError: if there is no connection, or no answer in time.
            HTTPException: if the connection ends within the reply.
            ValueError: if the reply is no JSON.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = Request(self.url, json.dumps(body).encode(), headers)
        with self._opener.open(request, timeout=self.timeout) as reply:
            return json.loads(self._hidden(reply.read().decode()))

    def _said(self, fault: HTTPError) -> str:
        """A status and the first words of its page."""
        named = f"{fault.code} {fault.reason}"
        if fault.code in REFUSED:
            return named
        try:
            words = " ".join(fault.read(2000).decode(errors="replace").split())
        except (OSError, http.client.HTTPException):
            words = ""
        return self._hidden(f"{named}{f': {words[:300]}' if words else ''}")

    def _hidden(self, text: str) -> str:
        """A text without the key, should the server repeat it."""
        return text.replace(self._key, "***") if self._key else text


def key_of(remote: Remote) -> str:
    """The key of a server, from the environment; empty if none is named.

    Raises:
        InputError: if there is none, or none that a header can hold.
    """
    if remote.key_env is None:
        return ""
    key = os.environ.get(remote.key_env, "").strip()
    if not key:
        raise InputError(
            f"the environment variable {remote.key_env} is not set; expected the key of "
            f"{remote.endpoint} in it; set it in the shell that calls Polyalign"
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise InputError(
            f"the environment variable {remote.key_env} holds no key: it has spaces or letters "
            "that no key has; expected the key alone; set it again"
        )
    return key


def _retry_after(header: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, as a number or a date; None without one."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return None
