"""What every move shows, and the route on which the server answers the moves of sliders.

A slider moves many times in a second, and an event of Gradio costs many times what a move takes to
compute. So moves go past it: a script of the page (`page.js`) asks for `PATH`, one request at a
time, with all sliders that have moved meanwhile, and shows what comes. What is looked at stands in
the page's address, so that the server keeps nothing of a page.
"""

import json
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from polyalign.app import shown
from polyalign.app.tables import Table
from polyalign.app.view import View, as_command, as_yaml, find, read_query
from polyalign.errors import InputError

PATH = "/explorer/move"
MOVED = "moved"
"""Key of the query that says which slider moved, as `humor=0.5`; it may come several times."""

GIVEN_UP = "given-up"
PARTS = ("verdict", "numbers", GIVEN_UP, "yaml", "command")
"""Parts of the page that every move replaces: the ids of their elements."""


def parts(tables: Sequence[Table], view: View, given_up: str = "") -> dict[str, Any]:
    """What a view shows: `parts`, the HTML of each part, and `query`, for the page's address.

    Args:
        tables: the tables there are.
        view: what is looked at.
        given_up: HTML of the part `GIVEN_UP`.
    """
    table = find(tables, view.table)
    problem = table.problem(view.scope, list(view.levels))
    move = table.move(view.scope, view.levels)
    return {
        "parts": {
            "verdict": shown.verdict_html(move),
            "numbers": shown.numbers_html(problem, move, tables[0].labels),
            GIVEN_UP: given_up,
            "yaml": shown.text_html("For config.yaml", as_yaml(view.levels)),
            "command": shown.text_html("The same numbers in a terminal", as_command(table, view)),
        },
        "query": view.query(),
    }


def read_address(tables: Sequence[Table], address: str) -> View:
    """The view of the query of an address.

    Raises:
        InputError: as `read_query`.
    """
    return read_query(tables, parse_qsl(address, keep_blank_values=True))


def moved(tables: Sequence[Table], address: str) -> dict[str, Any]:
    """What some moved sliders show, as `parts` has it.

    Args:
        tables: the tables there are.
        address: query of the page's address, with `MOVED` for each slider and its new position.

    Raises:
        InputError: if the address is wrong, or a slider that moved is none.
    """
    pairs = parse_qsl(address, keep_blank_values=True)
    view = read_query(tables, [pair for pair in pairs if pair[0] != MOVED])
    problem = find(tables, view.table).problem(view.scope, list(view.levels))
    for key, text in pairs:
        if key != MOVED:
            continue
        name, _, number = text.rpartition("=")
        try:
            position = float(number)
        except ValueError:
            position = math.nan
        if name not in problem.names or not math.isfinite(position):
            raise InputError(
                f"{MOVED}={text}: is no position of a slider; expected one of "
                f"{', '.join(problem.names)} with a number, as in {problem.names[0]}=0.5"
            )
        level = problem.level(problem.names.index(name), position, view.units)
        view = view.with_level(name, level)
    return parts(tables, view)


class Moves:
    """Answers the moves of sliders, and leaves all other requests to the app.

    Args:
        app: the app.
        tables: the tables that are explored.
    """

    def __init__(self, app: ASGIApp, tables: Sequence[Table]) -> None:
        self.app, self.tables, self.one = app, tables, CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self.app(scope, receive, send)
            return
        try:
            query = Request(scope).url.query
            sent = await to_thread.run_sync(moved, self.tables, query, limiter=self.one)
            answer = JSONResponse(sent)
        except InputError as fault:
            answer = JSONResponse({"fault": shown.fault_html(str(fault))}, status_code=400)
        answer.headers["cache-control"] = "no-store"
        await answer(scope, receive, send)


def as_json(sent: dict[str, Any]) -> str:
    """What is sent, as the text that the page's script reads."""
    return json.dumps(sent)
