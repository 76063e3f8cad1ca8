"""The speed of the machine: measured once, kept, and never in the way."""

import json
import subprocess
from pathlib import Path

import pytest

from polyalign.plan import machine
from polyalign.plan.machine import parse_gpus


def test_a_core_is_measured() -> None:
    operations, bandwidth, slowness = machine.measured_speed()
    assert 1e9 < operations < 1e13
    assert 1e8 < bandwidth < 1e12
    assert 0.05 < slowness < 50


def test_the_measurement_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "measured_speed", lambda: (1.0, 2.0, 3.0))
    assert machine.speed() == (1.0, 2.0, 3.0)
    monkeypatch.setattr(machine, "measured_speed", lambda: (4.0, 5.0, 6.0))
    assert machine.speed() == (1.0, 2.0, 3.0)
    # Another processor under the same name, or a file that is damaged: measured again.
    (file,) = (tmp_path / "polyalign").iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "processor": "another"}))
    assert machine.speed() == (4.0, 5.0, 6.0)
    file.write_text("{")
    assert machine.speed() == (4.0, 5.0, 6.0)


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(machine, "measured_speed", lambda: (1.0, 2.0, 3.0))
    assert machine.speed() == (1.0, 2.0, 3.0)


def test_a_machine_that_cannot_be_measured_counts_as_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "MEASURE", "raise SystemExit(1)")
    assert machine.measured_speed() == machine.REFERENCE


def test_gpus_are_known_by_name() -> None:
    printed = "0, NVIDIA H100 80GB HBM3, 81559\n1, Some New Card, 24000\n2, Broken, [N/A]\n"
    fast, other = parse_gpus(printed, {})
    assert (fast.name, other.name) == ("NVIDIA H100 80GB HBM3", "Some New Card")
    assert fast.operations("bfloat16") > other.operations("bfloat16") > other.operations("float32")
    assert other.memory_mb == pytest.approx(24000 * 1.048576)
    assert parse_gpus(printed, {"CUDA_VISIBLE_DEVICES": "1"}) == (other,)
    assert parse_gpus(printed, {"CUDA_VISIBLE_DEVICES": "0,1"}) == (fast, other)
    for hidden in ("", "-1"):
        assert parse_gpus(printed, {"CUDA_VISIBLE_DEVICES": hidden}) == ()


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert machine.gpus() == ()


def test_this_machine_has_cores_and_memory() -> None:
    found = machine.this_machine()
    assert found.cores >= 1
    assert found.memory_mb > 100
