"""Votes of people between two answers: one JSON line each, appended whole or not at all."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from polyalign.errors import InputError
from polyalign.runtime.files import append_line

Choice = Literal["first", "second", "tie"]
"""Which answer is better, in the order in which they were shown."""


@dataclass(frozen=True)
class Vote:
    """A vote between two answers, in the order in which the person saw them.

    Attributes:
        time: when, in UTC as ISO 8601 has it.
        prompt: the prompt, with earlier turns where the template has them.
        first_policy: whose answer the first is; λ given directly as `lam:humor=1`.
        first_response: the first answer.
        second_policy: whose answer the second is.
        second_response: the second answer.
        vote: which is better.
        conditions: what differs from the study's prompts and sampling rule, in words; empty if
            nothing does. Votes under other conditions are about other policies.
        seed: the seed of both answers.
    """

    time: str
    prompt: str
    first_policy: str
    first_response: str
    second_policy: str
    second_response: str
    vote: Choice
    conditions: str
    seed: int


def append_vote(path: str | Path, vote: Vote) -> None:
    """Add a vote to a file, which others may add to at the same time."""
    append_line(path, json.dumps(asdict(vote), ensure_ascii=True))


def read_votes(path: str | Path) -> pd.DataFrame:
    """The votes of a file: one row each, with the fields of `Vote` as columns.

    Raises:
        InputError: if there is no such file, no vote in it, or a line is no vote.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no votes; expected some; vote in `polyalign app`")
    check = TypeAdapter(Vote)
    votes = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            votes.append(check.validate_json(line, strict=True))
        except ValidationError as faults:
            fault = faults.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise InputError(
                f"{path}: line {number} is no vote ({where}{': ' if where else ''}{fault['msg']}); "
                "expected a JSON object as the app writes it; correct or remove that line"
            ) from faults
    if not votes:
        raise InputError(f"{path}: no votes; expected some; vote in `polyalign app`")
    return pd.DataFrame([asdict(vote) for vote in votes])
