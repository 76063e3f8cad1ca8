"""How far a running job is: from the metrics of a training, or the progress bar in its log."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAIL = 4000
"""Bytes at the end of a log that are searched for its progress."""

BAR = re.compile(r"(\d+/\d+) \[[^,\]]*, ([^,\]]*)((?:, [^,\]]+)*)\]")
"""A bar of tqdm: count, then elapsed and remaining time, speed, and what the job adds."""


@dataclass(frozen=True)
class Progress:
    """How far a job is; each is empty if it is unknown.

    Attributes:
        step: the last step of a training, or such as `3/12`.
        loss: the last loss of a training.
        unit: what is counted: step, text, batch.
        speed: such as `5.1 steps/s`, `3.0 s/step`, `900 tokens/s`.
    """

    step: str = ""
    loss: str = ""
    unit: str = ""
    speed: str = ""

    def __str__(self) -> str:
        """In a few words, such as `3/12 batches, 900 tokens/s` or `step 20, loss 0.25`."""
        if not self.step:
            return ""
        plural = f"{self.unit}{'es' if self.unit.endswith('ch') else 's'}"
        counted = f"{self.step} {plural}" if "/" in self.step else f"step {self.step}"
        loss = f"loss {self.loss}" if self.loss else ""
        return ", ".join(filter(None, [counted, self.speed, loss]))


def progress(log: Path, record: dict[str, Any]) -> Progress:
    """How far a job is.

    Args:
        log: its log.
        record: its job record.
    """
    work = record.get("work")
    metrics = Path(work) / "metrics.csv" if work else None
    if metrics is not None and metrics.is_file():
        header, *rows = metrics.read_text(encoding="utf-8").splitlines()
        if rows:
            row = dict(zip(header.split(","), rows[-1].split(","), strict=False))
            return Progress(row.get("step", ""), row.get("loss", ""), "step")
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL))
            tail = stream.read().decode(errors="replace")
    except OSError:
        return Progress()
    bars = BAR.findall(tail)
    if not bars:
        return Progress()
    count, speed, added = bars[-1]
    unit, readable = _speed(speed.strip())
    return Progress(count, "", unit, added.strip(" ,") or readable)


def _speed(text: str) -> tuple[str, str]:
    """Unit and readable speed of tqdm's `5.10step/s` or `3.00s/step`."""
    if many := re.fullmatch(r"([\d.?]+)\s*([a-zA-Z]+)/s", text):
        number, unit = many.groups()
        plural = f"{unit}{'es' if unit.endswith('ch') else 's'}"
        return unit, "" if "?" in number else f"{number} {plural}/s"
    if slow := re.fullmatch(r"([\d.]+)\s*s/([a-zA-Z]+)", text):
        return slow[2], f"{slow[1]} s/{slow[2]}"
    return "step", ""
