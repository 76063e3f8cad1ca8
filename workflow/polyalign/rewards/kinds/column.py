"""Scores that a table already has: the only kind of reward in a study from scores."""

from typing import Literal

from pydantic import Field

from polyalign.rewards.spec import ValueSpec


class Spec(ValueSpec):
    """A column of the table that `rewards` names; nothing is computed."""

    kind: Literal["column"] = "column"
    column: str = Field(default="", description="Name of the column (default: the value's name).")
