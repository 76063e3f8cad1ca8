"""The λ of a solved palette, as the jobs that use it read it."""

import json
from pathlib import Path
from typing import Any

from polyalign.errors import InputError

WHAT_TO_DO = "lower its levels, or set map.on_infeasible to adjust"
"""What may be done about a palette that has no solution."""


def read_lam(path: str | Path) -> dict[str, Any]:
    """A solved palette.

    Raises:
        InputError: if it has no solution.
    """
    record: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    if record["status"] != "solved":
        raise InputError(
            f"palette {record['palette']!r} has no λ, so that nothing can be made with it: "
            f"{record['message']}; {WHAT_TO_DO}"
        )
    return record
