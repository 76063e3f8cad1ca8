"""`polyalign app`: explore palettes in the browser, and answers of a study side by side."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from polyalign.cli import Parser
from polyalign.cli.answer import QUIET, add_bits
from polyalign.cli.extras import require
from polyalign.errors import InputError
from polyalign.paths import Paths
from polyalign.study import Study

WAITING = 256
"""Most requests of all open pages that wait at once."""


def main(argv: list[str] | None = None) -> int:
    """Show the app until SIGINT or SIGTERM; 0, or 2 with one line on stderr on bad input.

    Raises:
        SystemExit: after `--help`.
    """
    try:
        options = make_parser().parse_args(argv)
        if not options.table and options.study is None:
            raise InputError("nothing to explore; expected TABLE… or --study results/<study>")
        require("app", "gradio")
        from polyalign.app.tables import read_study, read_tables, with_common_values
        from polyalign.map.words import only_floors

        # Paths of tables start at the working folder, which a study's folder changes.
        tables = read_tables(options.table)
        study = None
        if options.study is not None:
            from polyalign.answer.ways import open_study

            study = open_study(options.study)
            tables = [read_study(study), *tables]
            if others := [name for name, one in study.palettes.items() if not only_floors(one)]:
                print(
                    "note: the explorer shows floors alone; it leaves out the palettes "
                    f"{', '.join(others)}, which have ceilings, bands or a budget",
                    file=sys.stderr,
                )
        tables = with_common_values(tables)
        with ExitStack() as open_until_end:
            folder = open_until_end.enter_context(
                tempfile.TemporaryDirectory(prefix="polyalign-app-")
            )
            more: dict[str, Callable[[], None]] = {}
            if study is not None and study.model is not None:
                more["Side by side"] = _side_by_side(study, open_until_end, options.bits)
            # Gradio's own copies of files for download go there too, and are gone at the end.
            os.environ["GRADIO_TEMP_DIR"] = folder
            from polyalign.app.page import make_page, start_server

            page = make_page(tables, Path(folder), more)
            try:
                address = start_server(page, tables, host=options.host, port=options.port)
            except OSError as fault:
                raise InputError(
                    f"port {options.port} of {options.host} cannot be used ({fault}); "
                    "expected a free one; name another with --port"
                ) from fault
            print(f"polyalign app: {address} (Ctrl-C ends it)", flush=True)
            _wait()
            page.close(verbose=False)
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def _side_by_side(study: Study, open_until_end: ExitStack, bits: int | None) -> Callable[[], None]:
    """What fills the tab of a study that has models; they are loaded here.

    Raises:
        InputError: if the base model cannot be loaded.
    """
    os.environ.update(QUIET)
    from polyalign.answer.answers import Answerer
    from polyalign.answer.waiting import Waiting
    from polyalign.app.side_by_side import tab

    answerer = Answerer(study, bits=bits)
    waiting = Waiting(answerer, WAITING, answerer.at_once)
    open_until_end.callback(waiting.close)
    votes = Path(Paths(study.study).file("votes.jsonl"))
    return lambda: tab(study, waiting, votes)


def _wait() -> None:
    """Wait for SIGINT or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()


def make_parser() -> Parser:
    """The arguments of this command."""
    parser = Parser(prog="polyalign app", description=__doc__)
    parser.add_argument(
        "table", nargs="*", help="rewards: .parquet, .csv, .jsonl, or MAP's .json; several compare"
    )
    parser.add_argument("--study", help="results/<study>, or a config: its pool and its palettes")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address (default: 127.0.0.1, this machine alone)"
    )
    parser.add_argument("--port", type=int, default=7860, help="port (default: 7860)")
    add_bits(parser)
    return parser
