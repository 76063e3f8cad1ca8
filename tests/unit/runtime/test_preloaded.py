"""Jobs that a server forks: each is as one that was started with `python SCRIPT`, but quicker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyalign.runtime import job_server, preloaded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone")

TELL = """
import json, os, sys
loaded = sorted(name for name in ("pandas", "polyalign", "polyalign.errors") if name in sys.modules)
import neighbour
print(json.dumps({
    "name": __name__, "arguments": sys.argv[1:], "folder": os.getcwd(), "loaded": loaded,
    "parent": os.getppid(), "neighbour": neighbour.TEXT, "colour": os.environ.get("COLOUR"),
}))
print("said on the other stream", file=sys.stderr)
sys.exit(7)
"""
WAIT = """
import os, pathlib, signal, sys, time
def stopped(number, frame):
    pathlib.Path("stopped").write_text(str(number))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
signal.signal(signal.SIGTERM, stopped)
pathlib.Path("pid").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def workflow() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for the process of a workflow."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def start(tmp_path: Path, workflow) -> Callable[..., subprocess.Popen[str]]:  # type: ignore[no-untyped-def]
    """Start the script of that name, of a folder of scripts, as a job."""
    for name, text in {"tell": TELL, "wait": WAIT}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "neighbour.py").write_text("TEXT = 'first'\n")
    here = os.environ | {preloaded.WORKFLOW: str(workflow.pid), "OMP_NUM_THREADS": "1"}

    def started(script: str, *arguments: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "polyalign.runtime.preloaded", "light", f"{script}.py"]
        return subprocess.Popen(
            [*command, *arguments], cwd=tmp_path, env=here | more, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return started


def appears(path: Path) -> str:
    """The text of a file that will be written."""
    end = time.monotonic() + 120
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return path.read_text()


def ends(pid: int) -> bool:
    """Whether a process ends within two minutes."""
    end = time.monotonic() + 120
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.02)
    return not Path(f"/proc/{pid}").exists()


def test_a_job_is_as_if_started_alone(start, tmp_path: Path, workflow) -> None:  # type: ignore[no-untyped-def]
    job = start("tell", "a", "b c")
    out, err = job.communicate()
    assert (job.returncode, err) == (7, "said on the other stream\n")
    told = json.loads(out)
    assert told.pop("parent") != job.pid
    assert told == {
        "name": "__main__", "arguments": ["a", "b c"], "folder": str(tmp_path),
        "loaded": ["pandas"], "neighbour": "first", "colour": None,
    }  # fmt: skip
    (tmp_path / "neighbour.py").write_text("TEXT = 'as it is now'\n")
    several = [start("tell", str(number)) for number in range(12)]
    for number, other in enumerate(several):
        told = json.loads(other.communicate()[0])
        assert (told["arguments"], told["neighbour"]) == ([str(number)], "as it is now")
        assert told["loaded"] == ["pandas"]


def test_other_variables_mean_a_process_of_its_own(start) -> None:  # type: ignore[no-untyped-def]
    start("tell").communicate()
    job = start("tell", COLOUR="red")
    told = json.loads(job.communicate()[0])
    assert (told["colour"], told["loaded"], told["parent"]) == ("red", [], os.getpid())
    assert job.returncode == 7


def test_a_job_that_a_signal_kills_is_reported_so(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    job = start("wait")
    os.kill(int(appears(tmp_path / "pid")), signal.SIGKILL)
    job.communicate()
    assert job.returncode == -signal.SIGKILL


def test_a_job_hears_the_signals_of_its_caller(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    job = start("wait")
    pid = int(appears(tmp_path / "pid"))
    job.terminate()
    job.communicate()
    assert (job.returncode, appears(tmp_path / "stopped")) == (-signal.SIGTERM, "15")
    assert ends(pid)


def test_a_job_ends_if_its_caller_is_killed(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    job = start("wait")
    pid = int(appears(tmp_path / "pid"))
    job.kill()
    job.communicate()
    assert ends(pid)
    assert appears(tmp_path / "stopped") == "15"


def test_the_server_ends_with_the_workflow(start, tmp_path: Path, workflow) -> None:  # type: ignore[no-untyped-def]
    """But not before its jobs: they go on, as they do without a server."""
    server = json.loads(start("tell").communicate()[0])["parent"]
    job = start("wait")
    pid = int(appears(tmp_path / "pid"))
    folder = preloaded.folder_of(workflow.pid)
    assert folder.is_dir()
    workflow.kill()
    workflow.wait()
    time.sleep(1.5)
    assert Path(f"/proc/{server}").exists()
    os.kill(pid, signal.SIGKILL)
    job.communicate()
    assert job.returncode == -signal.SIGKILL
    assert ends(server)
    assert not folder.exists()


def test_a_server_that_cannot_serve_is_not_asked_again(start, workflow) -> None:  # type: ignore[no-untyped-def]
    folder = preloaded.folder_of(workflow.pid)
    folder.mkdir(mode=0o700)
    (folder / "light.log").write_text("serves nobody: its imports started threads")
    told = json.loads(start("tell").communicate()[0])
    assert (told["loaded"], told["parent"]) == ([], os.getpid())
    (folder / "light.log").unlink()
    (folder / "light.lock").unlink()
    folder.rmdir()


def test_jobs_of_a_scheduler_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atexit.register", lambda *arguments, **more: None)
    environment = {"SLURM_JOB_ID": "3", preloaded.WORKFLOW: "99"}
    preloaded.announce(environment)
    assert environment == {"SLURM_JOB_ID": "3"}
    environment = {}
    preloaded.announce(environment)
    assert environment == {preloaded.WORKFLOW: str(os.getpid())}


def test_threads_make_a_process_unfit() -> None:
    text = """
import threading, time
from polyalign.runtime.job_server import unfit
assert unfit() == "", unfit()
threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
print(unfit())
"""
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("its imports started threads: python")


@pytest.mark.parametrize("libraries", job_server.LIBRARIES)
def test_jobs_of_every_kind_are_forked(libraries: str, tmp_path: Path, workflow) -> None:  # type: ignore[no-untyped-def]
    """Also where an import adds an environment variable."""
    (tmp_path / "where.py").write_text("import os; print(os.getppid())")
    called = [sys.executable, "-m", "polyalign.runtime.preloaded", libraries, "where.py"]
    environment = os.environ | {preloaded.WORKFLOW: str(workflow.pid), "OMP_NUM_THREADS": "1"}
    done = [
        subprocess.run(
            called, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    parents = {one.stdout for one in done}
    assert len(parents) == 1
    assert int(parents.pop()) != os.getpid()


USED = {
    "light": ["palettes.solve", "plots.data", "report.tables"],
    "models": ["models.load", "rewards.annotate", "sampling.drawing"],
    "training": ["models.load", "train.dpo", "train.rloo"],
}
"""Modules that jobs import, which import libraries."""


@pytest.mark.parametrize("libraries", job_server.LIBRARIES)
def test_what_is_imported_is_fit_to_be_forked_and_suffices(libraries: str) -> None:
    """A job imports hardly anything of the large libraries by itself."""
    text = f"""
import sys
from importlib import import_module
from polyalign.runtime.job_server import LIBRARIES, unfit
for name in LIBRARIES[{libraries!r}]:
    import_module(name)
assert unfit() == "", unfit()
before = set(sys.modules)
for name in {USED[libraries]}:
    import_module(f"polyalign.{{name}}")
large = ("accelerate", "matplotlib", "pandas", "peft", "scipy", "torch", "transformers", "trl")
new = [name for name in set(sys.modules) - before if name.partition(".")[0] in large]
assert len(new) < 30, new
"""
    command = [sys.executable, "-c", text]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
