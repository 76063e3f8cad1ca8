"""Requests that wait are answered together, and none can spoil another."""

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import pytest

from polyalign.answer.waiting import BusyError, Waiting
from polyalign.answer.ways import Asked, Way

BASE = Way("base/base", "sample")


@dataclass
class Slow:
    """Answers after it is let go; a prompt `bad` cannot be answered."""

    go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    groups: list[list[str]] = field(default_factory=list)
    gone: Any = None

    def answer(self, asked: list[Asked], told: Any = None, gone: Any = None) -> list[str]:
        self.groups.append([one.prompt for one in asked])
        self.gone = gone
        self.begun.set()
        assert self.go.wait(20)
        if any(one.prompt == "bad" for one in asked):
            raise RuntimeError("cannot")
        return [f"to {one.prompt}" for one in asked]


def asked(prompt: str, samples: int = 1) -> Asked:
    return Asked(prompt, BASE, 1, samples)


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def waiting(slow: Slow):
    made = Waiting(slow, most=5, together=4)  # type: ignore[arg-type]
    yield made
    slow.go.set()
    made.close()


def first(slow: Slow, waiting: Waiting) -> Any:
    """A request that is being answered."""
    future = waiting.submit(asked("first"))
    assert slow.begun.wait(20)
    return future


def test_what_waits_is_answered_together(slow: Slow, waiting: Waiting) -> None:
    futures = [first(slow, waiting)]
    futures += [waiting.submit(asked(name, 3 if name == "b" else 1)) for name in "abcd"]
    slow.go.set()
    assert [future.result(20) for future in futures] == [f"to {n}" for n in ("first", *"abcd")]
    assert slow.groups == [["first"], ["a", "b"], ["c", "d"]]


def test_one_that_fails_does_not_spoil_the_others(slow: Slow, waiting: Waiting) -> None:
    first(slow, waiting)
    good, bad, also = (waiting.submit(asked(name)) for name in ("good", "bad", "also"))
    slow.go.set()
    assert (good.result(20), also.result(20)) == ("to good", "to also")
    with pytest.raises(RuntimeError, match="cannot"):
        bad.result(20)
    assert waiting.submit(asked("later")).result(20) == "to later"


def test_who_is_gone_is_not_answered(slow: Slow, waiting: Waiting) -> None:
    first(slow, waiting)
    gone, here = waiting.submit(asked("gone")), waiting.submit(asked("here"))
    assert gone.cancel()
    slow.go.set()
    assert here.result(20) == "to here"
    assert slow.groups[1:] == [["here"]]
    with pytest.raises(CancelledError):
        gone.result(20)


def test_too_many_are_not_taken(slow: Slow, waiting: Waiting) -> None:
    first(slow, waiting)
    futures = [waiting.submit(asked(str(number))) for number in range(5)]
    with pytest.raises(BusyError, match="5 requests wait already"):
        waiting.submit(asked("one more"))
    slow.go.set()
    assert [future.result(20) for future in futures] == [f"to {number}" for number in range(5)]


def test_at_the_end_what_waits_is_refused(slow: Slow, waiting: Waiting) -> None:
    running = first(slow, waiting)
    late = waiting.submit(asked("late"))
    closing = threading.Thread(target=waiting.close)
    closing.start()
    while not waiting._closed:
        pass
    slow.go.set()
    closing.join(20)
    assert running.result(20) == "to first"
    with pytest.raises(BusyError, match="closing"):
        late.result(20)
    with pytest.raises(BusyError, match="closing"):
        waiting.submit(asked("later"))


def test_who_leaves_meanwhile_is_said_to_be_gone(slow: Slow, waiting: Waiting) -> None:
    first(slow, waiting)
    leaves, stays = waiting.submit(asked("leaves")), waiting.submit(asked("stays"))
    slow.begun.clear()
    slow.go.set()
    assert slow.begun.wait(20)
    slow.go.clear()
    leaves.leave()
    assert [slow.gone(0), slow.gone(1)] == [True, False]
    slow.go.set()
    assert stays.result(20) == "to stays"
