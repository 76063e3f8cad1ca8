"""Judges that score by a rubric: read by rule, paid once, kept on faults, never over budget."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from standin import SECRET, Reply, StandIn, chat, stand_in

from polyalign import rewards
from polyalign.data.keys import prompt_id
from polyalign.data.tables import write_table
from polyalign.errors import InputError
from polyalign.rewards import judging, posting
from polyalign.rewards.annotate import annotate
from polyalign.rewards.judging import NoVerdictError, calls_made
from polyalign.rewards.score_cache import ScoreCache
from polyalign.rewards.verdicts import score
from polyalign.runtime.code import canonical

SCRIPT = Path(__file__).parents[3] / "workflow/scripts/annotate.py"
RUBRIC = 'Rate from 0 to 10; reply with {{"score": n}}.\nQ: {prompt}\nA: {response}'


def length_of(body: Any, number: int = 0) -> Reply:
    """The judge's score of a response is its length."""
    question = body["messages"][0]["content"]
    return chat(json.dumps({"score": len(question.partition("\nA: ")[2])}))


@pytest.fixture
def judge() -> Iterator[StandIn]:
    """A server that judges without a fault, until a test gives it another `answer`."""
    with stand_in(length_of) as server:
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which take no time."""
    found: list[float] = []
    monkeypatch.setattr(posting, "sleep", found.append)
    return found


Make = Callable[..., dict[str, Any]]


@pytest.fixture
def spec(judge: StandIn, tmp_path: Path) -> Make:
    """Function: the entry of a value that the stand-in judges, with other settings."""

    def made(**settings: Any) -> dict[str, Any]:
        return {
            "kind": "judge",
            "endpoint": judge.url,
            "model": "judge-1",
            "rubric": RUBRIC,
            "low": 0.0,
            "high": 10.0,
            "folder": str(tmp_path / "calls"),
            **settings,
        }

    return made


def test_a_judge_is_asked_at_temperature_0_and_its_number_is_the_score(
    judge: StandIn, spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {SECRET}\n")
    score = rewards.load(spec(key_env="JUDGE_KEY", max_tokens=50))
    assert score(["p", "q", "p"], ["four", "", "four"]).tolist() == [4.0, 0.0, 4.0]
    asked = sorted(judge.asked, key=lambda body: -len(body["messages"][0]["content"]))
    question = 'Rate from 0 to 10; reply with {"score": n}.\nQ: p\nA: four'
    assert asked[0] == {
        "model": "judge-1",
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": 50,
    }
    assert len(asked) == 2  # equal ones once
    assert judge.paths == ["/v1/chat/completions"] * 2
    assert judge.keys == [f"Bearer {SECRET}"] * 2


def test_what_is_null_is_not_sent_and_a_seed_is(judge: StandIn, spec: Make) -> None:
    rewards.load(spec(temperature=None, max_tokens=None, seed=3))(["p"], ["a"])
    assert set(judge.asked[0]) == {"model", "messages", "seed"}
    assert judge.keys == [None]


def test_an_answer_is_never_asked_for_twice(judge: StandIn, spec: Make) -> None:
    assert rewards.load(spec())(["p", "q"], ["a", "bb"]).tolist() == [1, 2]
    # Another job, another rule, other bounds, another conduct: the same questions.
    for other in ({}, {"low": -1.0}, {"answer": "last number"}, {"parallel": 1, "timeout": 9.0}):
        assert rewards.load(spec(**other))(["q", "p"], ["bb", "a"]).tolist() == [2, 1]
    assert len(judge.asked) == 2
    # Another model, or another longest answer, is another question.
    rewards.load(spec(model="judge-2"))(["p"], ["a"])
    rewards.load(spec(max_tokens=9))(["p"], ["a"])
    assert len(judge.asked) == 4


FAULTS = {
    "busy": Reply(status=429),
    "busy, with a pause": Reply(status=429, headers={"Retry-After": "7"}),
    "server error": Reply(b"oops", status=500),
    "overloaded": Reply(status=529),
    "gateway": Reply(status=504),
    "silence": Reply(delay=3.0),
    "no JSON": Reply(b"<html>"),
    "no UTF-8": Reply(b'"\xff"'),
    "half a body": Reply(b'{"choices": [', missing=50),
    "a whole body cut": Reply(json.dumps(chat('{"score": 9}').body).encode(), missing=5),
    "hangs up": Reply(hang_up=True),
    "no choices": Reply({"error": "?"}),
    "an empty list": Reply({"choices": []}),
    "a list": Reply([1]),
    "no content": chat(None),
    "cut at the limit": chat('{"score": 9}', "length"),
    "filtered": chat('{"score": 9}', "content_filter"),
    "malformed answer": chat('{"score": '),
    "out of bounds": chat('{"score": 11}'),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_asked_again(
    judge: StandIn, spec: Make, pauses: list[float], fault: Reply
) -> None:
    judge.answer = lambda body, number: fault if number == 0 else length_of(body)
    timeout = 0.5 if fault.delay else 30.0
    assert rewards.load(spec(timeout=timeout))(["p"], ["abc"]).tolist() == [3]
    if fault.delay:  # a busy machine may be silent again
        assert pauses[:1] == [2.0]
        return
    assert len(judge.asked) == 2
    answered = isinstance(fault.body, dict) and "model" in fault.body
    if not answered or fault is FAULTS["no content"]:
        assert pauses == [7.0 if fault.headers else 2.0]


def test_a_pause_may_be_asked_for_as_a_date(
    judge: StandIn, spec: Make, pauses: list[float]
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    busy = Reply(status=429, headers={"Retry-After": later})
    judge.answer = lambda body, number: busy if number == 0 else length_of(body)
    rewards.load(spec())(["p"], ["abc"])
    assert 50 < pauses[0] <= 101


def test_a_server_that_stays_silent_is_given_up_with_doubling_pauses(
    judge: StandIn, spec: Make, pauses: list[float]
) -> None:
    judge.answer = lambda body, number: Reply(b"no room", status=503)
    with pytest.raises(InputError, match=r"no answer in 6 tries \(at last 503 .*no room.*kept"):
        rewards.load(spec())(["p"], ["a"])
    assert pauses == [2, 4, 8, 16, 32]
    assert len(judge.asked) == 6


def test_a_long_pause_is_not_waited_for(judge: StandIn, spec: Make, pauses: list[float]) -> None:
    judge.answer = lambda body, number: Reply(status=429, headers={"Retry-After": "4000"})
    with pytest.raises(InputError, match=r"1 tries and asks for a pause of 4000 s"):
        rewards.load(spec())(["p"], ["a"])
    assert pauses == []


@pytest.mark.parametrize(("status", "shown"), [(400, True), (404, True), (401, False)])
def test_a_refusal_is_not_tried_again(
    judge: StandIn, spec: Make, pauses: list[float], status: int, shown: bool
) -> None:
    judge.answer = lambda body, number: Reply(b"unknown   model", status=status)
    with pytest.raises(InputError, match=f"answers {status}") as refused:
        rewards.load(spec())(["p"], ["a"])
    assert ("unknown model" in str(refused.value)) is shown
    assert len(judge.asked) == 1


def test_a_redirect_does_not_carry_the_key_away(
    judge: StandIn, spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    with stand_in(length_of) as other:
        for status in (301, 302, 303, 307, 308):
            judge.answer = lambda body, number, status=status: Reply(
                status=status, headers={"Location": f"{other.url}/chat/completions"}
            )
            with pytest.raises(InputError, match=f"answers {status}"):
                rewards.load(spec(key_env="JUDGE_KEY"))(["p"], ["a"])
        assert other.asked == []


@pytest.mark.parametrize("parallel", [1, 8])
def test_a_budget_stops_before_it_is_exceeded_and_counts_all_jobs(
    judge: StandIn, spec: Make, tmp_path: Path, parallel: int
) -> None:
    limited = spec(max_calls=4, parallel=parallel)
    rewards.load(limited)(["p"], ["a"])
    texts = list("bcdefgh")
    with pytest.raises(InputError, match=r"max_calls allows 4 requests, and 4 are made.*raise"):
        rewards.load(limited)(["p"] * 7, texts)
    assert len(judge.asked) == 4 == calls_made(tmp_path / "calls")
    with pytest.raises(InputError, match="max_calls allows 4"):
        rewards.load(limited)(["p"] * 7, texts)
    assert len(judge.asked) == 4
    # What was paid for is kept: with more, each of the others is asked once.
    rewards.load(spec(max_calls=8))(["p"] * 7, texts)
    assert len(judge.asked) == 8
    assert len(set(judge.questions())) == 8


def test_jobs_that_count_at_the_same_time_do_not_pass_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(folder: Path) -> int:
        made = calls_made(folder)
        time.sleep(0.05)  # all that are let in now have read the same number
        return made

    monkeypatch.setattr(judging, "calls_made", slowly)

    def let_in(number: int) -> bool:
        try:
            judging.Kept(tmp_path, 3).count()
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(let_in, range(6))) == 3
    assert calls_made(tmp_path) == 3


def test_jobs_side_by_side_do_not_ask_the_same(judge: StandIn, spec: Make) -> None:
    judge.answer = lambda body, number: replace(length_of(body), delay=0.05)
    texts = ["a" * n for n in range(6)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(rewards.load(spec(parallel=2)), ["p"] * 6, texts) for _ in range(4)]
        assert all(list(job.result()) == list(range(6)) for job in jobs)
    assert len(judge.asked) == 6


def test_tries_count_against_the_budget(judge: StandIn, spec: Make, pauses: list[float]) -> None:
    judge.answer = lambda body, number: Reply(status=500)
    with pytest.raises(InputError, match="max_calls allows 3"):
        rewards.load(spec(max_calls=3))(["p"], ["a"])
    assert len(judge.asked) == 3


def samples(*pairs: tuple[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=["prompt", "response"])
    frame["prompt_id"] = frame["prompt"].map(prompt_id)
    frame["candidate"] = frame.groupby("prompt_id").cumcount()
    return frame


def test_a_failing_call_loses_nothing_that_was_paid_for(
    judge: StandIn, spec: Make, tmp_path: Path
) -> None:
    table = samples(*(("p", "x" * n) for n in range(6)))
    judge.answer = lambda body, number: (
        Reply(status=400) if body["messages"][0]["content"].endswith(" xxx") else length_of(body)
    )

    def scored() -> list[float]:
        entry = spec(parallel=1)
        known = rewards.spec_of(entry)
        cache = ScoreCache.of(tmp_path / "cache", known, known.identity())
        return annotate(table, "v", rewards.deferred(entry), cache)["v"].tolist()

    with pytest.raises(InputError, match="answers 400"):
        scored()
    assert len(judge.asked) >= 4
    judge.answer = length_of
    assert scored() == [0, 1, 2, 3, 4, 5]
    assert len(judge.asked) == 7  # six texts, and the one that failed
    assert scored() == [0, 1, 2, 3, 4, 5]
    assert len(judge.asked) == 7


def test_a_line_that_a_crash_has_cut_spoils_no_other(
    judge: StandIn, spec: Make, tmp_path: Path
) -> None:
    rewards.load(spec())(["p"], ["a"])
    file = tmp_path / "calls/answers.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    rewards.load(spec())(["p"], ["a"])
    rewards.load(spec())(["p"], ["a"])
    assert len(judge.asked) == 2
    kept = json.loads(file.read_text().splitlines()[-1])
    assert kept["question"].endswith("A: a")
    assert kept["answer"] == '{"score": 1}'
    assert kept["model"] == "judge-1-0"
    assert kept["usage"] == {"prompt_tokens": 9, "completion_tokens": 3}


def test_an_answer_without_a_score_is_asked_for_three_times_and_then_shown(
    judge: StandIn, spec: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    judge.answer = lambda body, number: (
        chat("I would rather not.") if "bad" in body["messages"][0]["content"] else length_of(body)
    )
    for _ in range(2):
        with pytest.raises(InputError, match=r"no score to 1 of 2 .*rather not.*`unscored`"):
            rewards.load(spec())(["p", "p"], ["bad", "good"])
        assert len(judge.asked) == 4
    assert rewards.load(spec(unscored=5.0))(["p", "p"], ["bad", "good"]).tolist() == [5, 4]
    assert "no score for 1 of 2 responses: 5" in capsys.readouterr().out
    assert len(judge.asked) == 4


READ = [
    ("json", '{"score": 7}', 7),
    ("json", '```json\n{"score": 7.5, "why": "a {brace}"}\n```', 7.5),
    ("json", '{"score": 1} or rather {"score": 2}', 2),
    ("json", 'so {"score": 3} {not JSON', 3),
    ("json", '{"why": {"score": 9}, "score": 4}', 4),
    ("json", '{"why": {"score": 9}}', None),
    ("json", '{"score": 1} and {"other": 2}', None),
    ("json", '{"score": "7"}', None),
    ("json", '{"score": true}', None),
    ("json", '{"score": NaN}', None),
    ("json", '{"score": 10.1}', None),
    ("json", f'{{"score": {10**400}}}', None),
    ("json", '{"score": -0.1}', None),
    ("json", "7", None),
    ("json", '[{"score": 6}]', 6),
    ("last number", "7", 7),
    ("last number", "I give it **7.5**.", 7.5),
    ("last number", "Of 3 points two hold. Score: 8 (good)", 8),
    ("last number", "score=6", 6),
    ("last number", "[[9]]", 9),
    ("last number", "+4", 4),
    ("last number", "-1", None),
    ("last number", "8/10", None),
    ("last number", "8 / 10", None),
    ("last number", "8 out of 10", None),
    ("last number", "7,5", None),
    ("last number", "3-4", None),
    ("last number", "80%", None),
    ("last number", "GPT4", None),
    ("last number", "10.5", None),
    ("last number", "none", None),
    ("last number", "", None),
]


@pytest.mark.parametrize(("rule", "text", "expected"), READ)
def test_an_answer_is_read_by_its_rule_or_not_at_all(
    rule: Any, text: str, expected: float | None
) -> None:
    if expected is None:
        with pytest.raises(NoVerdictError):
            score(text, rule, 0.0, 10.0)
    else:
        assert score(text, rule, 0.0, 10.0) == expected


def test_thoughts_before_an_answer_are_not_read(judge: StandIn, spec: Make) -> None:
    judge.answer = lambda body, number: chat('<think>{"score": 1}</think>\n{"score": 2}')
    assert rewards.load(spec())(["p"], ["a"]).tolist() == [2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_env": SECRET},
        {"key_env": "sk_lower"},
        {"endpoint": f"https://me:{SECRET}@example.com/v1"},
        {"endpoint": f"https://example.com/v1?key={SECRET}"},
        {"endpoint": "example.com/v1"},
        {"rubric": "{prompt}"},
        {"rubric": "{response} {reply}"},
        {"low": 10.0},
        {"temperature": 1},
        {"parallel": 100},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(spec: Make, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        rewards.spec_of(spec(**wrong))
    assert all(SECRET not in fault["msg"] for fault in refused.value.errors())


@pytest.mark.parametrize("key", [None, " ", f"{SECRET}\nX: 1", f"{SECRET}é"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(
    spec: Make, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(InputError, match="JUDGE_KEY") as refused:
        rewards.load(spec(key_env="JUDGE_KEY"))
    assert SECRET not in str(refused.value)


def test_a_rubric_without_the_prompt_reads_the_response_alone(spec: Make) -> None:
    assert rewards.spec_of(spec()).reads_prompt()
    assert rewards.spec_of(spec(rubric="{prompt!r} {response}")).reads_prompt()
    assert not rewards.spec_of(spec(rubric="{{prompt}} {response}")).reads_prompt()


def test_conduct_changes_no_identity_and_the_questions_do(spec: Make) -> None:
    same = {"key_env": "OTHER", "timeout": 5.0, "parallel": 1, "max_calls": 9, "folder": "x"}
    same["price"] = {"question": 1.0, "answer": 2.0}
    plain = rewards.spec_of(spec())
    assert rewards.spec_of(spec(**same)).identity() == plain.identity()
    assert rewards.spec_of(spec(**same)).at_default_speed() == plain.at_default_speed()
    for other in (
        {"model": "m"}, {"endpoint": "http://x"}, {"rubric": "{response}"}, {"low": -1.0},
        {"temperature": None}, {"seed": 1}, {"answer": "last number"}, {"unscored": 0.0},
    ):  # fmt: skip
        assert rewards.spec_of(spec(**other)).identity() != plain.identity()


def test_a_job_writes_no_key_and_imports_no_torch(
    judge: StandIn, spec: Make, tmp_path: Path
) -> None:
    """The server repeats the key wherever it can: in an error, and in an answer."""
    told = {"key_env": "JUDGE_KEY", "folder": "results/s/calls/v"}
    write_table(samples(("p", "abc"), ("q", "de")), tmp_path / "results/s/samples.parquet", {})
    command = [
        *(sys.executable, "-c", f"{RUN_WITHOUT_TORCH}", str(SCRIPT)),
        *("--settings", canonical({"value": "v", "spec": spec(**told)})),
        *("--input", "samples=results/s/samples.parquet"),
        *("--output", "scores=results/s/v.parquet", "--work", "results/s/cache"),
        *("--log", "results/s/logs/v.log"),
    ]

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=tmp_path,
            text=True,
            capture_output=True,
            check=False,
            env={"PYTHONPATH": ":".join(sys.path), "JUDGE_KEY": SECRET},
        )

    echo = {"error": f"no model for {SECRET}"}
    judge.answer = lambda body, number: Reply(echo, status=[400, 401][number % 2])
    refused = [run(), run()]
    assert [one.returncode for one in refused] == [2, 2]
    judge.answer = lambda body, number: chat(f'{SECRET} {{"score": 3}}')
    done = run()
    assert done.returncode == 0, done.stderr
    assert f"Bearer {SECRET}" in judge.keys
    kept = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert {"v.log", "v.json", "answers.jsonl", "calls", "spec.json"} <= {p.name for p in kept}
    texts = [path.read_bytes() for path in kept]
    texts += [one.stdout.encode() + one.stderr.encode() for one in (*refused, done)]
    assert not [text for text in texts if re.search(SECRET.encode(), text)]
    assert b"***" in b"".join(texts)


RUN_WITHOUT_TORCH = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    assert not {"torch", "transformers"} & set(sys.modules)
"""
