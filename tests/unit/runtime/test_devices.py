"""Local jobs share the GPUs of a machine: real processes, and files in place of devices."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyalign.errors import InputError
from polyalign.runtime import devices

JOB = """
import os, sys, time
from pathlib import Path
from polyalign.runtime import devices

devices.claim(int(sys.argv[1]), Path(sys.argv[2]))
print("holds", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if sys.argv[3:] == ["fork"]:
    child = os.fork()
    if child:
        print(child, flush=True)
        os.kill(os.getpid(), 9)
time.sleep(60)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with four GPUs, and no job on them."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices.tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (folder / name).touch()
    return folder


@pytest.fixture
def start(dev: Path) -> Iterator[Start]:
    """Starts a job that holds GPUs until the test ends."""
    started = []

    def call(count: int, *more: str, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(count), str(dev), *more],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    """The next line that a job prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_job_gets_its_own_gpu_and_the_fifth_waits(start: Start) -> None:
    jobs = [start(1) for _ in range(4)]
    assert sorted(line(job) for job in jobs) == [f"holds {i}" for i in range(4)]
    fifth = start(1)
    assert line(fifth) == "waits until 1 of the GPUs 0, 1, 2, 3 are free"
    assert fifth.poll() is None
    jobs[2].send_signal(signal.SIGKILL)
    jobs[2].wait()
    # The jobs took the GPUs in any order.
    freed = set("0123") - set("".join(gpus_of(job) for i, job in enumerate(jobs) if i != 2))
    assert line(fifth) == f"holds {freed.pop()}"


def gpus_of(job: "subprocess.Popen[str]") -> str:
    """The GPUs that a running job may see, according to the locks that it holds."""
    held = Path(f"/proc/{job.pid}/fd")
    names = [os.readlink(path) for path in held.iterdir()]
    return "".join(Path(name).name for name in names if "polyalign-gpus" in name)


def test_a_job_takes_all_its_gpus_at_once(start: Start) -> None:
    one = start(1)
    assert line(one) == "holds 0"
    four = start(4)
    assert line(four).startswith("waits until 4")
    three = start(3)  # the waiting job holds none
    assert line(three) == "holds 1,2,3"
    for job in (one, three):
        job.kill()
        job.wait()
    assert line(four) == "holds 0,1,2,3"


def test_a_child_of_a_killed_job_still_holds_its_gpu(start: Start) -> None:
    parent = start(4, "fork")
    assert line(parent) == "holds 0,1,2,3"
    child = int(line(parent))
    parent.wait()
    other = start(1)
    assert line(other).startswith("waits")
    os.kill(child, signal.SIGKILL)
    assert line(other) == "holds 0"


def test_only_given_gpus_are_shared(start: Start) -> None:
    jobs = [start(1, CUDA_VISIBLE_DEVICES="GPU-a,GPU-b") for _ in range(2)]
    assert sorted(map(line, jobs)) == ["holds GPU-a", "holds GPU-b"]


def test_allocations_of_slurm_are_separate(start: Start) -> None:
    jobs = [start(1, CUDA_VISIBLE_DEVICES="0,1", SLURM_JOB_ID=number) for number in ("7", "8")]
    assert [line(job) for job in jobs] == ["holds 0", "holds 0"]


@pytest.mark.parametrize(
    ("count", "given"), [(0, None), (1, "3"), (1, ""), (1, "-1"), (1, "NoDevFiles")]
)
def test_where_nothing_can_be_chosen_nothing_changes(
    dev: Path, monkeypatch: pytest.MonkeyPatch, count: int, given: str | None
) -> None:
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert devices.claim(count, dev) == []
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == given


def test_one_gpu_is_shared_as_before(dev: Path) -> None:
    for number in (1, 2, 3):
        (dev / f"nvidia{number}").unlink()
    assert devices.claim(1, dev) == []
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_process_of_a_launcher_has_the_gpus_of_the_launcher(
    dev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert devices.claim(2, dev) == []


def test_more_gpus_than_there_are_is_refused(dev: Path) -> None:
    with pytest.raises(InputError, match="asks for 5 GPUs, and there are 4 here"):
        devices.claim(5, dev)


def test_a_launcher_holds_the_gpus_of_all_its_processes(start: Start, tmp_path: Path) -> None:
    code = "import os, time; print('holds', os.environ['CUDA_VISIBLE_DEVICES'], flush=True)"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    launcher = subprocess.Popen(
        [
            *(sys.executable, "-m", "polyalign.runtime.devices", "3"),
            *(sys.executable, "-c", f"{code}; time.sleep(60)", "--log", str(tmp_path / "a.log")),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert line(launcher) == "holds 0,1,2"
    assert line(start(1, CUDA_VISIBLE_DEVICES="0,1,2,3")) == "holds 3"
    launcher.kill()
    launcher.communicate()
