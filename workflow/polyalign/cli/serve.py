"""`polyalign serve`: the policies and palettes of a study over HTTP, as OpenAI's API has them."""

import os
import sys

from polyalign.cli import Parser
from polyalign.cli.answer import QUIET, add_bits
from polyalign.cli.extras import require
from polyalign.errors import InputError

TOKEN = "POLYALIGN_TOKEN"
"""The variable that holds the bearer token: a command line can be read by others."""

CLOSING = 10
"""Seconds that connections have at the end."""


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; 0, or 2 with one line on stderr on bad input.

    Raises:
        SystemExit: after `--help`, or if the address is taken.
    """
    try:
        options = make_parser().parse_args(argv)
        require("serve", "fastapi", "uvicorn", "torch")
        os.environ.update(QUIET)
        from polyalign.answer import ways

        study = ways.enter_study(options.study)
        for name in ("max_candidates", "max_prompt", "max_body"):
            if getattr(options, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} is below 1; raise it")
        import uvicorn

        from polyalign.answer.answers import Answerer
        from polyalign.answer.chat import Limits
        from polyalign.answer.server import make_app

        limits = Limits(options.max_candidates, options.max_prompt, options.max_body)
        token = os.environ.get(TOKEN) or None
        app = make_app(
            Answerer(study, limits.prompt_tokens, options.bits),
            limits,
            host=options.host,
            token=token,
        )
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    uvicorn.run(
        app, host=options.host, port=options.port, timeout_graceful_shutdown=CLOSING,
        server_header=False,
    )  # fmt: skip
    return 0


def make_parser() -> Parser:
    """The arguments of this command."""
    parser = Parser(
        prog="polyalign serve",
        description=__doc__,
        epilog=f"If {TOKEN} is set, clients have to send it as bearer token.",
    )
    parser.add_argument(
        "--study", default="config.yaml", help="results/<study>, or a config (default: config.yaml)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address (default: 127.0.0.1, this machine alone)"
    )
    parser.add_argument("--port", type=int, default=8000, help="port (default: 8000)")
    add_bits(parser)
    parser.add_argument(
        "--max-candidates", type=int, default=256, metavar="K",
        help="most candidates, and answers, of one request (default: 256)",
    )  # fmt: skip
    parser.add_argument(
        "--max-prompt", type=int, default=4096, metavar="TOKENS",
        help="longest prompt with its template (default: 4096, or what the model takes)",
    )  # fmt: skip
    parser.add_argument(
        "--max-body", type=int, default=65536, metavar="BYTES",
        help="largest request (default: 65536)",
    )  # fmt: skip
    return parser
