"""How far a running job is: from the metrics of a training, or the progress bar in its log."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

TAIL = 4000
"""Bytes at the end of a log that are searched for its progress."""

BAR = re.compile(r"(\d+/\d+) \[[^,\]<]*(?:<([^,\]]*))?, ([^,\]]*)((?:, [^,\]]+)*)\]")
"""A bar of tqdm: count, remaining time, speed, and what the job adds."""

UNITS = ("step", "batch", "text")
"""What the bars of the stages count, the most telling one first; the bars of libraries, such as
those of loading a model, count other things."""


@dataclass(frozen=True)
class Progress:
    """How far a job is; each is empty if it is unknown.

    Attributes:
        step: such as `3/12`, or the last step of a training that shows no total.
        loss: the last loss of a training.
        unit: what is counted: step, text, batch.
        speed: such as `5.1 steps/s`, `3.0 s/step`, `900 tokens/s`.
        left: time that remains, such as `03:20`.
    """

    step: str = ""
    loss: str = ""
    unit: str = ""
    speed: str = ""
    left: str = ""

    def __str__(self) -> str:
        """In a few words, such as `3/12 batches, 900 tokens/s, 03:20 left`."""
        if not self.step:
            return ""
        plural = f"{self.unit}{'es' if self.unit.endswith('ch') else 's'}"
        counted = f"{self.step} {plural}" if "/" in self.step else f"step {self.step}"
        loss = f"loss {self.loss}" if self.loss else ""
        left = f"{self.left} left" if self.left else ""
        return ", ".join(filter(None, [counted, self.speed, loss, left]))


def progress(log: Path, record: dict[str, Any]) -> Progress:
    """How far a job is.

    Args:
        log: its log.
        record: its job record.
    """
    found = _bar(log)
    work = record.get("work")
    metrics = Path(work) / "metrics.csv" if work else None
    if metrics is not None and metrics.is_file():
        header, *rows = metrics.read_text(encoding="utf-8").splitlines()
        if rows:
            row = dict(zip(header.split(","), rows[-1].split(","), strict=False))
            if found.unit != "step":
                found = Progress(row.get("step", ""), unit="step")
            return replace(found, loss=row.get("loss", ""))
    return found


def _bar(log: Path) -> Progress:
    """The last bar of the stage itself at the end of a log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL))
            tail = stream.read().decode(errors="replace")
    except OSError:
        return Progress()
    by_unit: dict[str, Progress] = {}
    for count, left, speed, added in BAR.findall(tail):
        unit, readable = _speed(speed.strip())
        remaining = left.strip() if re.fullmatch(r"\s*[\d:]*[1-9][\d:]*\s*", left) else ""
        by_unit[unit] = Progress(count, "", unit, added.strip(" ,") or readable, remaining)
    return next((by_unit[unit] for unit in UNITS if unit in by_unit), Progress())


def _speed(text: str) -> tuple[str, str]:
    """Unit and readable speed of tqdm's `5.10step/s` or `3.00s/step`."""
    if many := re.fullmatch(r"([\d.?]+)\s*([a-zA-Z]+)/s", text):
        number, unit = many.groups()
        plural = f"{unit}{'es' if unit.endswith('ch') else 's'}"
        return unit, "" if "?" in number else f"{number} {plural}/s"
    if slow := re.fullmatch(r"([\d.]+)\s*s/([a-zA-Z]+)", text):
        return slow[2], f"{slow[1]} s/{slow[2]}"
    return "", ""
