"""`polyalign serve`: many clients at once against one at a time, and memory over many requests.

Each client asks again as soon as it is answered. The rates of 1, 8 and 32 clients are measured in
turns, so that a machine that others use too gives all of them the same share. `one at a time` is
the rate of 1 client: what a server without batches has, whatever the number of clients. The time to
the first token is that of streams: from the request to the first event with text. Memory is the
resident set of the server, after a warm-up of each kind of request and at the end. Needs the
finished sandbox study. Run as

    OMP_NUM_THREADS=1 python benchmarks/serve.py [--rounds 5] [--requests 1000]
"""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from threading import Lock

import pandas as pd

CLIENTS = (1, 8, 32)
MODELS = ("base/base", "hhh-60", "rloo/hhh-60")
STUDY = Path("results/sandbox")
SEEDS = itertools.count()
SEED_LOCK = Lock()


@contextmanager
def served(study: Path) -> Iterator[tuple[int, int]]:
    """A server in a process of its own: its port and its process id."""
    command = [sys.executable, "-m", "polyalign", "serve", "--study", str(study), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"running on http://127.0.0.1:(\d+)", line):
                    yield int(found[1]), process.pid
                    return
            raise SystemExit("the server did not start")
        finally:
            process.terminate()
            process.stderr.read()


def ask(port: int, prompt: str, model: str, stream: bool = False) -> float:
    """Ask once; seconds to the first text of a stream, or to the whole answer."""
    with SEED_LOCK:
        seed = next(SEEDS)
    sent = {
        "model": model, "messages": [{"role": "user", "content": prompt}], "seed": seed,
        "stream": stream,
    }  # fmt: skip
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    start = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(sent), headers)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    took = None
    while stream and (line := response.readline()):
        if took is None and b'"content": "' in line and b'"content": ""' not in line:
            took = time.perf_counter() - start
    response.read()
    connection.close()
    return time.perf_counter() - start if took is None else took


def together(clients: int, requests: int, work: Callable[[int], float]) -> tuple[float, float]:
    """Requests per second, and the median of what `work` gives, with so many clients at once."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(work, range(requests)))
    return requests / (time.perf_counter() - start), median(found)


def resident(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def rates(port: int, prompts: list[str], rounds: int) -> None:
    """Print the rate and the time to the first token by number of clients."""
    rate: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    first: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    for _ in range(rounds):
        for clients in CLIENTS:
            number = 4 * clients + 4

            def whole(i: int) -> float:
                return ask(port, prompts[i % len(prompts)], "base/base")

            def streamed(i: int) -> float:
                return ask(port, prompts[i % len(prompts)], "base/base", stream=True)

            rate[clients].append(together(clients, number, whole)[0])
            first[clients].append(together(clients, number, streamed)[1])
    alone = median(rate[1])
    print("clients  requests/s  × one at a time  first token, ms")
    for clients in CLIENTS:
        many = median(rate[clients])
        print(
            f"{clients:7d}  {many:10.1f}  {many / alone:15.1f}"
            f"  {1000 * median(first[clients]):15.0f}",
            flush=True,
        )


def memory(port: int, pid: int, prompts: list[str], requests: int) -> None:
    """Print the server's memory before and after many requests of all kinds."""

    def mixed(i: int) -> float:
        return ask(port, prompts[i % len(prompts)], MODELS[i % len(MODELS)], stream=i % 2 == 0)

    together(32, 192, mixed)
    found = [resident(pid)]
    for _ in range(4):
        together(32, requests // 4, mixed)
        found.append(resident(pid))
    shown = ", ".join(f"{one:.0f}" for one in found)
    print(f"memory, MiB, at the start and after each quarter of {requests} requests: {shown}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all numbers of clients")
    parser.add_argument("--requests", type=int, default=1000, help="requests for the memory")
    options = parser.parse_args()
    table = pd.read_parquet(STUDY / "prompts.parquet")
    prompts = table["prompt"].drop_duplicates().tolist()[:200]
    with served(STUDY) as (port, pid):
        together(8, 32, lambda i: ask(port, prompts[i], "base/base"))
        rates(port, prompts, options.rounds)
        memory(port, pid, prompts, options.requests)


if __name__ == "__main__":
    main()
