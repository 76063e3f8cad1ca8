"""What this machine can do: speed of a core, memory, GPUs. The forecast of times starts from it.

The speed is measured in half a second, in a process of its own, since NumPy must use one thread.
The result is kept in the user's cache folder. Nothing here imports torch, and no rule depends on
it: what a job asks of a scheduler is the same on every machine (polyalign.plan.resources).
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from polyalign.plan.resources import BANDWIDTH, OPS
from polyalign.runtime.files import cache_folder, write_json

MEASURE = """
import time
import numpy as np

def fastest(work, times):
    seconds = []
    for _ in range(times):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)

a = np.random.default_rng(0).random((512, 512), dtype=np.float32)
product = np.empty_like(a)
source = np.ones(8_000_000, dtype=np.float32)
copy = np.zeros_like(source)
print(2 * 512**3 / fastest(lambda: np.matmul(a, a, out=product), 20))
print(2 * source.nbytes / fastest(lambda: np.copyto(copy, source), 10))
print(fastest(lambda: sum(i * i for i in range(200_000)), 10))
"""
"""Times count the processor's work, so other programs on the machine hardly matter."""

LOOP = 0.0078
"""Seconds of the Python loop above on the machine that the constants of the forecast come from."""

GPUS = {
    "B200": (6.0, 8.0),
    "H200": (3.3, 4.8),
    "H100": (3.3, 3.3),
    "A100": (2.0, 1.8),
    "L40": (1.5, 0.86),
    "A40": (1.0, 0.7),
    "L4": (0.7, 0.3),
    "A10": (0.8, 0.6),
    "V100": (0.8, 0.9),
    "T4": (0.4, 0.32),
    "RTX 50": (1.5, 1.2),
    "RTX 40": (1.2, 0.9),
    "RTX 30": (0.8, 0.8),
}
"""Part of a GPU's name → operations per second as a multiple of `OPS`, memory in 1e12 bytes/s."""


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: as its driver says it.
        memory_mb: its memory in MB.
        faster: its operations per second as a multiple of `polyalign.plan.resources.OPS`.
        bandwidth: bytes per second from its memory.
    """

    name: str
    memory_mb: float
    faster: float = 1.0
    bandwidth: float = BANDWIDTH

    def operations(self, dtype: str) -> float:
        """Operations per second that it sustains in a number format."""
        return self.faster * OPS[dtype]


DATA_CENTRE = Gpu("a data-centre GPU", 80_000)
"""Stands for the GPUs of a cluster, which this machine need not have."""


@dataclass(frozen=True)
class Machine:
    """What jobs can use.

    Attributes:
        cores: processor cores.
        operations: float32 operations per second of one core, in a product of matrices.
        bandwidth: bytes per second that one core copies, reads and writes together.
        slowness: seconds of plain Python, as a multiple of those of the reference machine.
        memory_mb: memory of the host in MB.
        gpus: its GPUs.
    """

    cores: int
    operations: float
    bandwidth: float
    slowness: float
    memory_mb: float
    gpus: tuple[Gpu, ...] = ()


REFERENCE = (1.05e11, 3.0e10, 1.0)
"""Operations, bandwidth and slowness of the machine that the forecast's constants come from."""


def this_machine() -> Machine:
    """The machine that this process runs on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    return Machine(len(os.sched_getaffinity(0)), *speed(), memory, gpus())


def speed() -> tuple[float, float, float]:
    """Operations, bandwidth and slowness of one core: from the cache, or else measured.

    A machine that cannot be measured counts as the reference. A cache that cannot be written is
    measured again next time.
    """
    file = cache_folder() / f"speed-{re.sub(r'[^A-Za-z0-9.-]', '_', platform.node())}.json"
    processor = _processor()
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["processor"] == processor:
            return float(kept["operations"]), float(kept["bandwidth"]), float(kept["slowness"])
    found = measured_speed()
    names = ("operations", "bandwidth", "slowness")
    with suppress(OSError):
        write_json(file, {"processor": processor, **dict(zip(names, found, strict=True))})
    return found


def measured_speed() -> tuple[float, float, float]:
    """Measure one core; the speed of the reference machine if that fails."""
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        "1",
    )
    command = [sys.executable, "-c", MEASURE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, **threads}
        )
        operations, bandwidth, loop = map(float, done.stdout.split())
    except (OSError, ValueError, subprocess.CalledProcessError):
        return REFERENCE
    return operations, bandwidth, loop / LOOP


def _processor() -> str:
    """The processor's name; empty where the system does not say it."""
    with suppress(OSError):
        named = re.search(
            r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8")
        )
        if named:
            return named[1]
    return platform.processor()


def gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine that jobs may use, by the name that their driver gives."""
    command = ["nvidia-smi", "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(done.stdout, os.environ)


def parse_gpus(printed: str, environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs in the lines `index, name, MiB` that `nvidia-smi` prints.

    `CUDA_VISIBLE_DEVICES`, where it has indices, chooses among them.
    """
    rows = [[part.strip() for part in line.split(",")] for line in printed.splitlines()]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and re.fullmatch(r"-?\d+(,\d+)*|", visible):
        rows = [row for row in rows if row[0] in visible.split(",")]
    found = []
    for row in rows:
        with suppress(ValueError):
            _, name, memory = row
            known = next((speed for part, speed in GPUS.items() if part in name), None)
            faster, bandwidth = known or (1.0, BANDWIDTH / 1e12)
            found.append(Gpu(name, float(memory) * 2**20 / 1e6, faster, bandwidth * 1e12))
    return tuple(found)
