"""`polyalign answer`: the base answer to a prompt and the aligned one, with their rewards."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from polyalign.cli import Parser
from polyalign.errors import InputError
from polyalign.families import BASE

if TYPE_CHECKING:
    from polyalign.answer.answers import Answer
    from polyalign.answer.ways import Way
    from polyalign.study import Study

QUIET = {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
"""Variables with which models are loaded without bars and advice."""


def main(argv: list[str] | None = None) -> int:
    """Answer a prompt; 0, or 2 with one line on stderr on bad input.

    Raises:
        SystemExit: after `--help`.
    """
    try:
        options = make_parser().parse_args(argv)
        # Before the first import of what reads them.
        os.environ.update(QUIET)
        from polyalign.answer import ways

        study = ways.enter_study(options.study)
        seed = study.seed if options.seed is None else options.seed
        chosen = _way(study, options.palette, options.lam, options.policy, options.guide)
        asked = [
            ways.ask(study, options.prompt, way, seed=seed, samples=options.samples, candidates=k)
            for way, k in (
                (ways.way_of_policy(study, BASE.name), None),
                (chosen, options.candidates),
            )
            if way is not None
        ]
        if chosen is None and options.candidates is not None:
            raise InputError(
                "--candidates without anything to choose by; expected --palette, --lam or --policy "
                "beside it; add one"
            )
        # What a model's loader says is no part of the answer.
        with redirect_stdout(sys.stderr):
            from polyalign.answer.answers import Answerer, as_json

            answers = Answerer(study, bits=options.bits).answer(asked)
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    if options.json:
        record = {"prompt": options.prompt, "base": as_json(answers[0])}
        if chosen is not None:
            record["aligned"] = as_json(answers[1])
        print(json.dumps(record, indent=1))
    else:
        print("\n\n".join(text_of(answer) for answer in answers))
    return 0


def make_parser() -> Parser:
    """The arguments of this command."""
    parser = Parser(prog="polyalign answer", description=__doc__)
    parser.add_argument("prompt", metavar="PROMPT", help="the prompt, without its template")
    parser.add_argument(
        "--study", default="config.yaml", help="results/<study>, or a config (default: config.yaml)"
    )
    by = parser.add_mutually_exclusive_group()
    by.add_argument("--palette", metavar="NAME", help="choose among candidates with its λ")
    by.add_argument(
        "--lam", metavar="VALUE=λ,…", help="choose with this λ, as in humor=1,helpful=0.5"
    )
    by.add_argument("--policy", metavar="NAME", help="a policy of the study, as rloo/hhh-60")
    parser.add_argument(
        "--guide",
        action="store_true",
        help="with --palette or --lam: draw with the study's value model, instead of choosing",
    )
    parser.add_argument(
        "--candidates", type=int, metavar="K", help="candidates to choose among (default: study's)"
    )
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="answers (default: 1)")
    parser.add_argument("--seed", type=int, help="seed (default: the study's)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_bits(parser)
    return parser


def add_bits(parser: Parser) -> None:
    """Add `--bits`, which `polyalign.answer.answers.Answerer` takes."""
    parser.add_argument(
        "--bits", type=int, choices=(4, 8),
        help="load language models in so few bits: needs an NVIDIA GPU and bitsandbytes, and "
        "answers are no longer quite the study's",
    )  # fmt: skip


def _way(
    study: "Study", palette: str | None, lam: str | None, policy: str | None, guide: bool
) -> "Way | None":
    """How the aligned answer is made; None if nothing is named."""
    from polyalign.answer import ways

    if guide and palette is None and lam is None:
        raise InputError("--guide without λ; expected --palette or --lam beside it; add one")
    by = ways.LEARNT if guide else ways.LAM
    if palette is not None:
        return ways.way_of_palette(study, palette, by)
    if lam is not None:
        return ways.way_of_lam(study, ways.read_weights(lam), by)
    return None if policy is None else ways.way_of_policy(study, policy)


def text_of(answer: "Answer") -> str:
    """An answer for people: the texts, each with its rewards, then the candidates as a table."""
    way = answer.asked.way
    weights = ", ".join(f"{value} {weight:.4g}" for value, weight in way.lam.items() if weight)
    lines = [f"{way.name}{f' (λ: {weights})' if weights else ''}"]
    for text in answer.texts:
        lines += [f"  {line}" for line in text.response.splitlines() or ["(empty)"]]
        lines.append("    " + ", ".join(f"{name} {one:.4g}" for name, one in text.rewards.items()))
    if answer.candidates:
        values = list(answer.candidates[0].rewards)
        ranked = sorted(
            zip(answer.probabilities, answer.candidates, strict=True), key=lambda pair: -pair[0]
        )
        rows: list[list[Any]] = [["probability", *values, "candidate"]]
        rows += [
            [f"{p:.4f}", *(f"{text.rewards[name]:.4g}" for name in values), repr(text.response)]
            for p, text in ranked
        ]
        lines += ["", f"  chosen among {len(answer.candidates)} candidates:", *_table(rows)]
    return "\n".join(lines)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        "  "
        + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False))
        + f"  {row[-1]}"
        for row in rows
    ]
