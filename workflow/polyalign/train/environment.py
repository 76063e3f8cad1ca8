"""Libraries that change the environment of the process, or look for packages in it at every step.

accelerate looks up the defaults of its settings with an empty environment: it removes every
variable and sets it again, while the threads run that transformers loads weights with. A thread
that reads a variable at that moment (`getenv` in C) follows a list that is being moved: one
training in some 250 died so, by signal 11. glibc made that safe in version 2.41.

It also asks at every step, several times, whether peft is installed, and reads the package's
description from the disk for it: 5 ms of a step.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from accelerate.utils import environment, imports

# accelerate sets it for a moment to ask for CUDA; one that is there is replaced in its place.
CUDA_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"


@contextmanager
def _empty_in_python() -> Iterator[None]:
    """An empty environment for those who read it in Python, while that of the process stays."""
    with patch.object(os, "environ", {}):
        yield


def leave_environment_alone() -> None:
    """Let accelerate leave the environment of this process as it is; call it before any thread."""
    os.environ.setdefault(CUDA_CHECK, "1")
    environment.clear_environment = _empty_in_python


def look_for_packages_once() -> None:
    """Let accelerate remember which packages are installed."""
    imports._is_package_available = functools.cache(imports._is_package_available)
