"""The pages of docs/, and the commands that stand on them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS = ("polyalign", "snakemake", "make", "python", "pip")
CLUSTER = ("sbatch", "squeue", "scontrol", "apptainer")
"""Programs that a machine without a cluster does not have."""

NOT_HERE = ("--profile slurm", "cluster-generic", "--default-storage-provider")
"""Words of commands that need a cluster, or a plugin that a cluster's users install."""


@dataclass(frozen=True)
class Command:
    """A command on a page.

    Attributes:
        page: the page, from the root of the checkout.
        words: its words; `…` stands for options that are left out.
        around: the line, or for code within the text the paragraph, that it stands in.
        block: whether it stands on a line of its own.
    """

    page: str
    words: tuple[str, ...]
    around: str
    block: bool

    @property
    def needs_cluster(self) -> bool:
        """Whether it can only run on a cluster."""
        text = " ".join(self.words)
        return self.words[0] in CLUSTER or any(words in text for words in NOT_HERE)


def blocks(text: str, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return [body for named, body in FENCE.findall(text) if named == language]


def commands(page: Path) -> Iterator[Command]:
    """Commands in indented blocks, and in code within the text."""
    text = re.sub(r"\\\n\s+", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    for line in re.findall(r"^    (\S.*)$", text, re.MULTILINE):
        yield from _commands(page, line, line, block=True)
    for paragraph in re.split(r"\n\s*\n|\n(?=[-|] ?)", text):
        if not paragraph.startswith("    "):
            for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", paragraph):
                yield from _commands(page, span, paragraph, block=False)


def _commands(page: Path, code: str, around: str, *, block: bool) -> Iterator[Command]:
    try:
        words = shlex.split(code, comments=True)
    except ValueError:
        return  # no command: a quote that does not end
    while words and re.fullmatch(r"[A-Za-z_]+=.*", words[0]):
        words = words[1:]
    if len(words) > 1 and words[0] in (*PROGRAMS, *CLUSTER):
        yield Command(page.relative_to(ROOT).as_posix(), tuple(words), around, block)
