"""Reading and writing the small result tables, one a policy.

Figures import this on a dry run, so pandas is imported where a table is read.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from polyalign.errors import InputError
from polyalign.files import whole

if TYPE_CHECKING:
    import pandas as pd


def write_csv(frame: "pd.DataFrame", path: str | Path) -> None:
    """Write a result table as CSV, whole or not at all, numbers in full.

    What is not defined is written as `nan`, which `polyalign.tables.read_table` reads back; an
    empty field would turn its column into text.
    """
    with whole(path) as draft:
        frame.to_csv(draft, index=False, na_rep="nan")


def read_by_policy(paths: Iterable[Path], policies: Iterable[str]) -> dict[str, "pd.DataFrame"]:
    """Tables `…/{family}/{variant}/NAME` by policy, in the policies' order, whatever the files'.

    Args:
        paths: the tables.
        policies: names `family/variant`.

    Raises:
        InputError: if a table cannot be read, or is of a policy that is not among `policies`.
    """
    from polyalign.tables import read_table

    tables = {}
    for path in map(Path, paths):
        policy = f"{path.parent.parent.name}/{path.parent.name}"
        tables[policy] = read_table(path)
    order = list(policies)
    unknown = sorted(set(tables) - set(order))
    if unknown:
        raise InputError(
            f"a table of {unknown[0]}, which is no policy of the study; expected one of "
            f"{', '.join(order)}: add it to `policies`, or leave the file out"
        )
    return {policy: tables[policy] for policy in order if policy in tables}
