"""Rewards in the user's own Python: imported as Python does, kept when a call fails."""

import importlib.util
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError

import numpy as np
import pandas as pd
import pytest

from polyalign import rewards
from polyalign.data.keys import prompt_id
from polyalign.data.tables import read_table, write_table
from polyalign.errors import InputError
from polyalign.runtime.function_code import function_code
from polyalign.runtime.job import Job

ROOT = Path(__file__).parents[3]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder of the user; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    function_code.cache_clear()
    known = set(sys.modules)
    yield tmp_path
    for name in sorted(set(sys.modules) - known, reverse=True):
        paths = [getattr(sys.modules[name], "__file__", None) or ""]
        paths += list(getattr(sys.modules[name], "__path__", []))
        if any(path.startswith(str(tmp_path)) for path in paths):
            del sys.modules[name]


def spec(function: str) -> dict[str, Any]:
    return {"kind": "python", "function": function}


MODULES = {
    "dataclasses": """
        from __future__ import annotations
        from dataclasses import dataclass
        @dataclass
        class Rule:
            word: str
            weight: float = 1.0
        RULES = [Rule("yes"), Rule("no", -1.0)]
        def score(prompts, responses):
            return [sum(rule.weight for rule in RULES if rule.word in text) for text in responses]
    """,
    "a process pool": """
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        def one(text):
            return {"yes": 1.0, "no way": -1.0}[text]
        def score(prompts, responses):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                return list(pool.map(one, responses))
    """,
    "a relative import": """
        from .helper import one
        def score(prompts, responses):
            return [one(text) for text in responses]
    """,
    "pickle": """
        import pickle
        class Judge:
            def one(self, text):
                return {"yes": 1.0, "no way": -1.0}[text]
        def score(prompts, responses):
            judge = pickle.loads(pickle.dumps(Judge()))
            return [judge.one(text) for text in responses]
    """,
}


@pytest.mark.parametrize("text", MODULES.values(), ids=MODULES)
@pytest.mark.parametrize("package", ["own_rewards", "own_rewards.inner"])
def test_a_module_is_imported_by_its_name(here: Path, text: str, package: str) -> None:
    folder = here / package.replace(".", "/")
    folder.mkdir(parents=True)
    lines = [line.removeprefix(" " * 8) for line in text.splitlines()]
    (folder / "mine.py").write_text("\n".join(lines))
    (folder / "helper.py").write_text("def one(text):\n    return 1.0 if text == 'yes' else -1.0\n")
    score = rewards.load(spec(f"{package}.mine:score"))
    assert score(["a", "b"], ["yes", "no way"]).tolist() == [1.0, -1.0]


def test_another_module_of_that_name_is_not_taken_for_it(here: Path) -> None:
    (here / "json.py").write_text(
        "def score(prompts, responses):\n    return [0.0] * len(prompts)\n"
    )
    with pytest.raises(InputError, match=r"json\.py: another module is called json too .*rename"):
        rewards.load(spec("json:score"))


@pytest.fixture
def annotate(here: Path) -> Callable[[str, str, pd.DataFrame], list[float]]:
    """Function: what the job scores for a value with a function."""
    path = ROOT / "workflow/scripts/annotate.py"
    found = importlib.util.spec_from_file_location("script_annotate", path)
    assert found is not None
    assert found.loader is not None
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)

    def run(value: str, function: str, samples: pd.DataFrame) -> list[float]:
        write_table(samples, here / "samples.parquet", {})
        job = Job(
            settings={},
            inputs={"samples": [here / "samples.parquet"]},
            outputs={"scores": here / f"{value}.parquet"},
            work=here / "cache",
        )
        script.main(job, value=value, spec=spec(function))
        scores: list[float] = read_table(here / f"{value}.parquet")[value].tolist()
        return scores

    return run


def samples(count: int) -> pd.DataFrame:
    prompts = [f"prompt {number}" for number in range(count)]
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id(text) for text in prompts],
            "candidate": 0,
            "prompt": prompts,
            "response": [f"answer {number}" for number in range(count)],
        }
    )


class Judge(BaseHTTPRequestHandler):
    """A server with OpenAI's interface: it gives the number in the answer, and is busy at times."""

    paid: ClassVar[list[str]] = []
    busy: ClassVar[set[int]] = set()
    calls = 0

    def do_POST(self) -> None:
        """Answer one question."""
        Judge.calls += 1
        if Judge.calls in Judge.busy:
            self.send_response(429)
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        assert self.headers["Authorization"] == "Bearer secret"
        question = body["messages"][0]["content"]
        number = re.findall(r"answer (\d+)", question)[0]
        Judge.paid.append(number)
        content = json.dumps({"choices": [{"message": {"content": f"Score: {number}"}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def judge(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The judge of docs/rewards.md, and a server for it."""
    page = (ROOT / "docs/rewards.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (here / "judge.py").write_text(code, encoding="utf-8")
    server = HTTPServer(("127.0.0.1", 0), Judge)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("JUDGE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("JUDGE_KEY", "secret")
    monkeypatch.setenv("no_proxy", "*")
    Judge.paid, Judge.busy, Judge.calls = [], set(), 0
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("judge")
def test_the_judge_of_the_docs_tries_again(annotate) -> None:
    Judge.busy = {1, 5, 6, 7}
    assert annotate("polite", "judge:polite", samples(40)) == [float(n) for n in range(40)]
    assert sorted(map(int, Judge.paid)) == list(range(40))
    assert Judge.calls == 44


@pytest.mark.usefixtures("judge")
def test_a_judge_that_gives_up_loses_one_call_of_the_function_at_most(annotate) -> None:
    count, first_failure = 200, 150
    Judge.busy = set(range(first_failure, 10_000))
    with pytest.raises(HTTPError):
        annotate("polite", "judge:polite", samples(count))
    kept = 128  # four calls of 32 texts
    assert len(Judge.paid) >= kept
    Judge.busy, Judge.paid = set(), []
    assert annotate("polite", "judge:polite", samples(count)) == [float(n) for n in range(count)]
    assert len(Judge.paid) <= count - kept + 8


@pytest.mark.usefixtures("judge")
def test_a_value_with_another_name_is_not_scored_again(annotate) -> None:
    first = annotate("polite", "judge:polite", samples(10))
    assert annotate("kind", "judge:polite", samples(10)) == first
    assert Judge.calls == 10


def test_another_function_of_the_file_is_another_specification(here: Path, annotate) -> None:
    text = "def one(p, r):\n    return [1.0] * 3\n\n\ndef two(p, r):\n    return [2.0] * 3\n"
    (here / "both.py").write_text(text)
    assert annotate("v", "both:one", samples(3)) == [1.0] * 3
    assert annotate("v", "both:two", samples(3)) == [2.0] * 3
    before = rewards.spec_of(spec("both:one")).identity()
    (here / "both.py").write_text(text.replace("2.0", "3.0"))
    function_code.cache_clear()
    assert rewards.spec_of(spec("both:one")).identity() == before


def test_scores_of_a_function_are_those_of_single_calls(here: Path, annotate) -> None:
    (here / "sized.py").write_text(
        "sizes = []\n\n\ndef score(prompts, responses):\n    sizes.append(len(prompts))\n"
        "    return [float(len(p) * 1000 + len(r)) for p, r in zip(prompts, responses)]\n"
    )
    frame = samples(100)
    expected = [len(p) * 1000 + len(r) for p, r in frame[["prompt", "response"]].values]
    assert np.array_equal(annotate("v", "sized:score", frame), expected)
    sizes = sys.modules["sized"].sizes
    assert sum(sizes) == 100
    assert max(sizes) <= 32
