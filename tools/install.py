"""Install the packages of requirements.lock into the environment of this Python.

PyPI's build of PyTorch for Linux needs 3 GB of CUDA libraries. On a machine without an NVIDIA GPU
this script installs the CPU build or nothing.
"""

from __future__ import annotations  # an older Python reads up to the sentence on its version

import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
OLDEST = (3, 11)
LOCK = ROOT / "requirements.lock"
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]

SIZES = {
    "CPU": "about 0.6 GB to download, 2.2 GB of disk, 3 minutes at 10 MB/s",
    "CUDA": "about 4 GB to download, 8 GB of disk, 10 minutes at 10 MB/s",
}
"""Build of PyTorch → what all packages together need."""


def main() -> int:
    """Say what comes, then install it; returns an exit status."""
    if sys.version_info < OLDEST:
        print(
            f"error: {sys.executable} is Python {sys.version.split()[0]}; expected 3.11 or newer; "
            "make the environment with one: `make .venv/ready PYTHON=python3.12`",
            file=sys.stderr,
        )
        return 2
    torch = locked_torch(LOCK.read_text(encoding="utf-8"))
    build = build_for(sys.platform, has_gpu=has_gpu())
    print(
        f"Installs the packages of {LOCK.name}, PyTorch as {build} build: {SIZES[build]}.",
        flush=True,
    )
    if sys.platform == "linux" and build == "CPU" and installed() != torch:
        command = [*PIP, "--no-deps", f"torch=={torch}+cpu"]
        # The configured index first: it may be the only one that this machine reaches.
        elsewhere = ["--extra-index-url", CPU_BUILDS, "--retries", "1", "--timeout", "20"]
        if (
            subprocess.run(command, capture_output=True, check=False).returncode
            and subprocess.run([*command, *elsewhere], check=False).returncode
        ):
            print(
                f"error: pip found no CPU build of torch {torch}, and this machine has no NVIDIA "
                "GPU; expected one in the configured package index, in PIP_FIND_LINKS or at "
                f"{CPU_BUILDS}; to install the CUDA build all the same (4 GB): "
                f"{sys.executable} -m pip install torch=={torch}, then call make again",
                file=sys.stderr,
            )
            return 1
    for more in (["-r", str(LOCK)], ["--no-deps", "-e", str(ROOT)]):
        if code := subprocess.run([*PIP, *more], check=False).returncode:
            return code
    return 0


def locked_torch(lock: str) -> str:
    """The version of PyTorch in the text of a lock file."""
    found = re.search(r"^torch==(\S+)$", lock, re.MULTILINE)
    if found is None:
        raise ValueError(f"{LOCK} has no line torch==VERSION")
    return found[1]


def has_gpu(driver: Path = Path("/proc/driver/nvidia/version")) -> bool:
    """Whether this machine has the driver of an NVIDIA GPU."""
    return driver.exists() or shutil.which("nvidia-smi") is not None


def build_for(platform: str, *, has_gpu: bool) -> str:
    """The build of PyTorch for a platform (as in `sys.platform`): CPU or CUDA."""
    return "CUDA" if platform == "linux" and has_gpu else "CPU"


def installed() -> str | None:
    """The version of PyTorch that is installed already, without its build."""
    try:
        return version("torch").partition("+")[0]
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
