"""How Snakemake is called for a study, from any folder, and with a home that cannot be written."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polyalign.errors import InputError

CHECKOUT = Path(__file__).parents[3]
"""The folder of the Snakefile that belongs to this library: a checkout, or the one in a wheel."""

CACHE = Path(".snakemake/cache")
"""Snakemake's cache, from the working folder, where the home cannot be written."""


@dataclass(frozen=True)
class Given:
    """A study as a command names it.

    Attributes:
        config: its config file.
        changes: `key=value` changes to the config, as for `snakemake --config`.
    """

    config: str
    changes: Sequence[str] = ()


def command(study: Given, *options: str) -> list[str]:
    """A call of Snakemake, with the Snakefile of the working folder or else of this checkout.

    Args:
        study: the study.
        options: more options, and then `--` and targets.

    Raises:
        InputError: if there is no Snakefile.
    """
    here = Path("Snakefile").is_file() and Path("workflow/polyalign").is_dir()
    snakefile = CHECKOUT / "Snakefile"
    if not here and not snakefile.is_file():
        raise InputError(
            f"there is no Snakefile in {Path.cwd()} and none in {CHECKOUT}; expected a checkout of "
            "Polyalign; call from one, or install it from one with `pip install -e`"
        )
    return [
        *(sys.executable, "-m", "snakemake"),
        *(() if here else ("--snakefile", str(snakefile))),
        # Snakemake looks for jobs to start again after each such span, once for every job that has
        # ended. With its default of 1 s that takes a minute of CPU time in a study of ten. It ends
        # no sooner than the last span.
        *("--max-jobs-per-timespan", "10000/4s"),
        *("--configfile", study.config),
        *(("--config", *study.changes) if study.changes else ()),
        *options,
    ]


def environment() -> dict[str, str]:
    """The environment of such a call.

    Snakemake keeps copies of source files in the user's cache. Where that cannot be written, such
    as in the home of a compute node, the cache is below the working folder; the hub's models are
    looked for where they were.
    """
    found = dict(os.environ)
    cache = Path(found.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if _writable(cache / "snakemake"):
        return found
    found.setdefault("HF_HOME", str(cache / "huggingface"))
    return found | {"XDG_CACHE_HOME": str(CACHE.absolute())}


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
