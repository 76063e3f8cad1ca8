"""No library changes the variables of a training's process while its threads may read them."""

import subprocess
import sys

import pytest

CHANGES = """
import os, sys
{before}
from accelerate.utils import GradientAccumulationPlugin
from accelerate.utils.imports import is_cuda_available
changed = []
sys.addaudithook(
    lambda event, args: changed.append(args[0]) if event in ("os.putenv", "os.unsetenv") else None
)
plugin = GradientAccumulationPlugin(num_steps=3)
there = dict(os.environ)
assert plugin.to_kwargs() == {{"num_steps": 3}}
is_cuda_available()
assert dict(os.environ) == there
check = "PYTORCH_NVML_BASED_CUDA_CHECK"
print(len(set(changed) - {{check.encode()}}), os.environ.get(check))
"""


@pytest.mark.parametrize(
    ("before", "quiet"), [("import polyalign.train.common", True), ("", False)]
)
def test_trainings_keep_their_environment(before: str, quiet: bool) -> None:
    """The second case shows that the library would change it, so that the first can fail."""
    done = subprocess.run(
        [sys.executable, "-c", CHANGES.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
    )
    changed, check = done.stdout.split()
    assert (changed == "0") == quiet
    assert (check == "1") == quiet
