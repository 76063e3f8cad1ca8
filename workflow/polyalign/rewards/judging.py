"""Questions to a language model that judges, over any server with OpenAI's interface.

Every answer is kept in a file as soon as it is there, and found again by its question: no question
is paid for twice, whatever becomes of the job that asked it.
"""

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, Field

from polyalign.data.keys import content_key
from polyalign.errors import InputError
from polyalign.rewards.posting import HalfReplyError, Remote, Server
from polyalign.runtime.files import append_line
from polyalign.settings import Count, Strict, asks_about

Verdict = TypeVar("Verdict")

READINGS = 3
"""How often a question is asked whose answers have no verdict."""

UNFINISHED = ("length", "content_filter")
"""Reasons that an answer ended for which it is not read: half of it is missing."""

NonNegative = Annotated[float, Field(ge=0)]


class Price(Strict):
    """What a judge costs, in whatever currency, for a million tokens."""

    question: NonNegative = Field(description="A million tokens of questions (input).")
    answer: NonNegative = Field(description="A million tokens of answers (output).")


class Judging(Remote):
    """A language model behind OpenAI's interface that answers one question at a time."""

    CONDUCT: ClassVar[tuple[str, ...]] = (
        *Remote.CONDUCT, "parallel", "max_calls", "price", "folder",
    )  # fmt: skip

    model: str = Field(
        min_length=1,
        description="The model's name there. Name an exact version: another name is asked again.",
    )
    temperature: Literal[0] | None = Field(
        default=0,
        description="0: the likeliest answer. null: not sent, for servers that take no other than "
        "their own, as `polyalign serve` and some models that reason.",
    )
    max_tokens: Count | None = Field(
        default=512,
        description="Longest answer; one that is cut there is not read. null: not sent.",
    )
    seed: int | None = Field(default=None, description="Sent if given; not every server heeds it.")
    parallel: Annotated[int, Field(ge=1, le=32)] = Field(
        default=8, description="Questions under way at once, in each job."
    )
    max_calls: Count | None = Field(
        default=None,
        description="Most requests in all, in all jobs and runs together, with those that are "
        "tried again; the job stops before another one (default: no limit).",
    )
    price: Price | None = Field(
        default=None, description="Lets `polyalign check` say what a study costs at most."
    )
    folder: str = Field(
        default="",
        description="Where raw answers are kept and requests are counted (default: "
        "results/<study>/calls/values/<value>, and calls/pairs for pairs).",
    )

    def at_default_conduct(self) -> Self:
        """The same judge, with defaults for the settings that change no answer."""
        fields = type(self).model_fields
        return self.model_copy(update={key: fields[key].default for key in self.CONDUCT})


class PairJudge(Judging):
    """A language model that says which of two answers is better, asked in both orders."""

    rubric: Annotated[str, AfterValidator(asks_about("first", "second"))] = Field(
        description="The question: text with {first} and {second}, the answers A and B, and "
        "{prompt}. It must ask for a reply that ends with the word A, B or tie."
    )
    prompts: Count = Field(
        default=100,
        description="Test prompts, of each policy one answer against one of evaluation.opponent: "
        "the first ones by their id, which is a hash. Each takes two calls.",
    )


class NoVerdictError(Exception):
    """No answer to a question can be read by the rule; the text says why, of the last one."""


@dataclass(frozen=True)
class Given:
    """One answer of a judge, as it is kept.

    Attributes:
        key: of the server's address and the request.
        question: what was asked.
        answer: the whole answer.
        finish: why it ended, as the server says.
        model: what the server calls the model that answered.
        usage: tokens, as the server counts them.
        time: when, in UTC as ISO 8601 has it.
    """

    key: str
    question: str
    answer: str
    finish: str | None
    model: str | None
    usage: dict[str, Any] | None
    time: str

    @property
    def text(self) -> str:
        """The answer, without what a model that reasons thought before."""
        return self.answer.rpartition("</think>")[2]


class Kept:
    """The answers of a judge and the number of its requests, in a folder that jobs share.

    `answers.jsonl` has one line per answer; `calls` one byte per request. Both only grow, under a
    lock, so that a killed job loses nothing that was paid for, and counts nothing twice.

    Args:
        folder: the folder.
        most: most requests in all; None for no limit.
    """

    def __init__(self, folder: Path, most: int | None) -> None:
        self.folder, self.most = folder, most
        self.file = folder / "answers.jsonl"
        self._lock = Lock()
        self._read = 0
        self._known: dict[str, list[Given]] = {}

    def answers(self, key: str) -> list[Given]:
        """All answers to a request so far, those of other jobs too."""
        with self._lock:
            if self.file.is_file() and self.file.stat().st_size > self._read:
                self._refresh()
            return list(self._known.get(key, ()))

    def _refresh(self) -> None:
        with self.file.open("rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # another job is writing it
                self._read += len(line)
                try:
                    given = Given(**json.loads(line))
                except (ValueError, TypeError):
                    continue  # a crash cut it
                self._known.setdefault(given.key, []).append(given)

    def count(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            InputError: if it would be one too many.
        """
        with self._locked("lock"):
            made = calls_made(self.folder)
            if self.most is not None and made >= self.most:
                raise InputError(
                    f"max_calls allows {self.most} requests, and {made} are made; expected no more "
                    f"to be needed; the answers are kept in {self.file}; raise max_calls, then run "
                    "the same command again"
                )
            with (self.folder / "calls").open("ab") as stream:
                stream.write(b".")

    def add(self, given: Given) -> None:
        """Keep an answer."""
        append_line(self.file, json.dumps(asdict(given)))

    def alone(self, key: str) -> AbstractContextManager[None]:
        """Nobody else asks this while the block runs: a job that would then finds the answer.

        Policies often give the same answer, and their jobs run side by side. There are at most 256
        locks, so now and then a question waits for another one.
        """
        return self._locked(f"asking/{key[:2]}")

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def calls_made(folder: str | Path) -> int:
    """Requests that a judge with this folder has sent."""
    calls = Path(folder) / "calls"
    return calls.stat().st_size if calls.is_file() else 0


class Judge:
    """A judge that can be asked.

    Args:
        judging: its section of the config, with its folder.

    Raises:
        InputError: if the environment lacks the server's key.
    """

    def __init__(self, judging: Judging) -> None:
        self.judging = judging
        self.server = Server(judging, "/chat/completions")
        self.kept = Kept(Path(judging.folder), judging.max_calls)

    def verdicts(
        self, questions: Sequence[str], read: Callable[[Given], Verdict]
    ) -> list[Verdict | NoVerdictError]:
        """The verdict on each question, or why there is none; equal questions are asked once.

        Args:
            questions: n questions.
            read: makes a verdict of an answer; raises `NoVerdictError`.

        Raises:
            InputError: if the server refuses, is silent, or `max_calls` is reached; answers that
                have come by then are kept.
        """
        distinct = list(dict.fromkeys(questions))
        pool = ThreadPoolExecutor(self.judging.parallel)
        try:
            asked = [pool.submit(self._verdict, question, read) for question in distinct]
            done, _ = wait(asked, return_when=FIRST_EXCEPTION)
            for one in done:
                one.result()
        finally:
            # Those under way end, and are kept.
            pool.shutdown(cancel_futures=True)
        found = {question: one.result() for question, one in zip(distinct, asked, strict=True)}
        return [found[question] for question in questions]

    def _verdict(self, question: str, read: Callable[[Given], Verdict]) -> Verdict | NoVerdictError:
        body: dict[str, Any] = {
            "model": self.judging.model,
            "messages": [{"role": "user", "content": question}],
        }
        for name in ("temperature", "max_tokens", "seed"):
            if (setting := getattr(self.judging, name)) is not None:
                body[name] = setting
        key = content_key(self.server.url, json.dumps(body, sort_keys=True))
        with self.kept.alone(key):
            answers, last = self.kept.answers(key), NoVerdictError("no answer")
            for number in range(max(READINGS, len(answers))):
                if number == len(answers):
                    answers.append(self._ask(body, key, question))
                try:
                    return _read(answers[number], read)
                except NoVerdictError as none:
                    last = none
            return last

    def _ask(self, body: dict[str, Any], key: str, question: str) -> Given:
        def parse(reply: Any) -> Given:
            text, finish = _content(reply)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            model, usage = reply.get("model"), reply.get("usage")
            return Given(key, question, text, finish, model, usage, now)

        given = self.server.ask(body, parse, self.kept.count)
        self.kept.add(given)
        return given


def _read(given: Given, read: Callable[[Given], Verdict]) -> Verdict:
    if given.finish in UNFINISHED:
        raise NoVerdictError(f"it ended early ({given.finish}): {given.answer[-200:]!r}")
    return read(given)


def _content(reply: Any) -> tuple[str, str | None]:
    """The text of a chat completion, and why it ended."""
    try:
        choice = reply["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise HalfReplyError("the reply has no choices[0].message.content") from None
    if not isinstance(text, str):
        raise HalfReplyError("choices[0].message.content is no text")
    return text, finish
