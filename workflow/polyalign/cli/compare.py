"""`polyalign compare`: several studies side by side, paired where they share prompts."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, Any

from polyalign.cli import Parser
from polyalign.cli.table.output import Answer, show, write
from polyalign.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from polyalign.evaluate.studies import FinishedStudy

WIDEST = 40
"""Letters of a setting of a config that are shown as text."""


def main(argv: list[str] | None = None) -> int:
    """Compare studies; 0, or 2 with one line on stderr on bad input.

    Raises:
        SystemExit: after `--help`.
    """
    try:
        options = make_parser().parse_args(argv)
        if len(options.studies) < 2:
            raise InputError(
                "one study is named; expected two or more: results/a results/b; the first is what "
                "the others are compared with"
            )
        return _compare(options)
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


def make_parser() -> Parser:
    """The arguments of this command."""
    parser = Parser(
        prog="polyalign compare",
        description=__doc__,
        epilog="example: polyalign compare results/a results/b -o compared.html",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "studies",
        nargs="+",
        metavar="results/STUDY",
        help="folders of finished studies; the others are compared with the first",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write a page as .html, the table as .csv or .parquet, or all results as .json",
    )
    return parser


def _compare(options: argparse.Namespace) -> int:
    from polyalign.evaluate.parting import parting_sentence, partings
    from polyalign.evaluate.studies import FinishedStudy, compare_studies, config_rows, notes
    from polyalign.report.studies import lead, studies_page
    from polyalign.runtime.files import write_text

    studies = [FinishedStudy(folder) for folder in options.studies]
    names = _names(studies)
    table, configs, said = compare_studies(studies), config_rows(studies), notes(studies)
    found = lead(table, names)
    stages = {study.name: partings(study, studies[0]) for study in studies[1:]}
    parted = [parting_sentence(rows, name, names[0]) for name, rows in stages.items()]
    output = options.output
    if output is not None and output.endswith((".html", ".htm")):
        labels = {value: text for study in studies for value, text in study.labels().items()}
        try:
            write_text(output, studies_page(table, names, configs, said, labels, stages))
        except OSError as fault:
            raise InputError(
                f"-o {output}: cannot be written ({fault.strerror}); name another file"
            ) from fault
        output = None
    answer = Answer(
        {
            "studies": names,
            "config": [
                {"key": key, **dict(zip(names, texts, strict=True))} for key, texts in configs
            ],
            "notes": said,
            "stages": {name: [one._asdict() for one in rows] for name, rows in stages.items()},
            "rows": table.to_dict("records"),
        },
        above=[
            found,
            *parted,
            *(f"note: {note}" for note in said),
            *_config_text(configs, names),
        ],
        header=list(table.columns),
        rows=table.to_numpy().tolist(),
    )
    if options.json:
        return show(answer, as_json=True, output=output)
    if output is not None:
        write(answer, output)
    return show(_as_text(answer, table, names), as_json=False)


def _names(studies: "Sequence[FinishedStudy]") -> list[str]:
    """Names of the studies; their folders where two have the same name."""
    names = [study.name for study in studies]
    if len(set(names)) < len(names):
        for study in studies:
            study.name = str(study.folder)
        names = [study.name for study in studies]
    if len(set(names)) < len(names):
        raise InputError(f"{', '.join(names)}: a study is named twice; name each once")
    return names


def _config_text(configs: Sequence[tuple[str, Sequence[str]]], names: Sequence[str]) -> list[str]:
    """What differs in the configs, a line for each key."""
    lines = ["configs: the same but for their names"] if not configs else ["configs differ in"]
    for key, texts in configs:
        cut = [text if len(text) <= WIDEST else text[: WIDEST - 1] + "…" for text in texts]
        said = ", ".join(f"{name}: {text}" for name, text in zip(names, cut, strict=True))
        lines.append(f"  {key}  {said}")
    return lines


def _as_text(answer: Answer, table: "pd.DataFrame", names: Sequence[str]) -> Answer:
    """The same with one row for each policy and value, and the studies beside each other."""
    header = ["policy", "value", names[0]]
    for name in names[1:]:
        header += [name, "difference", "se"]
    header += [f"win {name}" for name in names]
    header += ["difference", "se"] * (len(names) - 1)
    rows = []
    for (policy, value), group in table.groupby(["policy", "value"], sort=False):
        by_study: Mapping[str, Any] = {row["study"]: row for _, row in group.iterrows()}
        cells: list[str | float] = [str(policy), str(value)]
        for what in ("level", "winrate"):
            own = [_get(by_study, name, what) for name in names]
            apart = [
                [_get(by_study, name, f"{what}_diff"), _get(by_study, name, f"{what}_diff_se")]
                for name in names[1:]
            ]
            if what == "level":
                cells.append(own[0])
                for level, pair in zip(own[1:], apart, strict=True):
                    cells += [level, *pair]
            else:
                cells += [*own, *(number for pair in apart for number in pair)]
        rows.append(cells)
    below = ["standard errors, p-values and KL: -o FILE.html or -o FILE.csv"]
    return Answer(answer.record, above=answer.above, header=header, rows=rows, below=below)


def _get(by_study: Mapping[str, Any], name: str, column: str) -> float:
    return float(by_study[name][column]) if name in by_study else nan
