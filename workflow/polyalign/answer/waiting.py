"""Requests that come at the same time are answered together: one thread, whole batches."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from polyalign.answer.answers import Answer, Answerer
from polyalign.answer.ways import Asked

Grown = Callable[[int, str], None]
"""Is told the number of an answer, and its text so far."""

GATHERING = 0.01
"""Seconds that a batch waits for one more request. Clients that were answered together ask again
together, and the first of them must not be answered alone."""

LONGEST = 0.05
"""Seconds after which a batch begins, even if requests still come."""

CLOSED = "the server is closing; ask again later"


class BusyError(Exception):
    """So many requests wait already, or the server is closing, that this one is not taken."""


class Coming(Future[Answer]):
    """The answer to come. Whoever does not wait any more leaves."""

    gone = False

    def leave(self) -> None:
        """Nobody waits any more: it is not begun, or ends at its next token, without texts."""
        self.gone = True
        self.cancel()


@dataclass(frozen=True)
class _Waiting:
    """A request that waits for its answer."""

    asked: Asked
    grown: Grown | None
    future: Coming


class Waiting:
    """Takes requests from any thread, and answers all that wait at a time together.

    Args:
        answerer: answers them, in a thread of its own.
        most: requests that may wait.
        together: most responses that are drawn for the requests that are answered together.
    """

    def __init__(self, answerer: Answerer, most: int, together: int) -> None:
        self.answerer, self.together = answerer, together
        self._queue: queue.Queue[_Waiting | None] = queue.Queue()
        self._most, self._closed = most, False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, asked: Asked, grown: Grown | None = None) -> Coming:
        """The answer to come. It is an InputError if the request cannot be answered.

        Args:
            asked: the request.
            grown: is told of the answers while they grow, in the thread that draws them.

        Raises:
            BusyError: if too many requests wait.
        """
        if self._closed:
            raise BusyError(CLOSED)
        if self._queue.qsize() >= self._most:
            raise BusyError(f"{self._most} requests wait already; ask again later")
        future = Coming()
        self._queue.put(_Waiting(asked, grown, future))
        return future

    def close(self) -> None:
        """End after the batch that runs; what waits is refused."""
        self._closed = True
        self._queue.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while True:
            group, going = self._next()
            # Whoever is not there any more needs no answer.
            group = [one for one in group if one.future.set_running_or_notify_cancel()]
            if self._closed:
                for one in group:
                    one.future.set_exception(BusyError(CLOSED))
            elif group:
                self._answer(group)
            if not going:
                return

    def _next(self) -> tuple[list[_Waiting], bool]:
        """All that wait, up to `together` responses, and whether to go on afterwards."""
        first = self._queue.get()
        if first is None:
            return self._rest(), False
        end = time.monotonic() + LONGEST
        group, responses = [first], _responses(first)
        while responses < self.together:
            left = min(GATHERING, end - time.monotonic())
            try:
                more = self._queue.get(timeout=max(left, 0))
            except queue.Empty:
                break
            if more is None:
                return [*group, *self._rest()], False
            group.append(more)
            responses += _responses(more)
        return group, True

    def _rest(self) -> list[_Waiting]:
        """All that still wait at the end."""
        found = []
        while not self._queue.empty():
            one = self._queue.get_nowait()
            found += [one] if one else []
        return found

    def _answer(self, group: list[_Waiting]) -> None:
        """Answer a group of requests; if that fails, each alone: one must not spoil others."""

        def told(request: int, place: int, text: str) -> None:
            grown = group[request].grown
            if grown is not None:
                grown(place, text)

        try:
            streamed = any(one.grown for one in group)
            asked = [one.asked for one in group]
            answers = self.answerer.answer(
                asked, told if streamed else None, lambda request: group[request].future.gone
            )
        except Exception as fault:  # a reward may be the user's own function
            if len(group) == 1:
                group[0].future.set_exception(fault)
                return
            for one in group:
                self._answer([one])
            return
        for one, answer in zip(group, answers, strict=True):
            one.future.set_result(answer)


def _responses(waiting: _Waiting) -> int:
    """Responses that are drawn for a request."""
    return waiting.asked.candidates or waiting.asked.samples
