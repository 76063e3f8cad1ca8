"""`polyalign init`: a commented config of a new study, from a few flags or answers."""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyalign.cli import Parser
from polyalign.errors import InputError

FILL_IN = "FILL-IN"
"""Begins what the user has to write; `polyalign check` refuses it, or no hub has it."""

WHAT = {
    "sequence_classifier": "model",
    "embedding_similarity": "model",
    "log_likelihood": "model",
    "python": "function",
    "column": "column",
}
"""Kind of value → the key that follows its colon on the command line."""

NEEDED = {
    "sequence_classifier": f"{FILL_IN}/classifier",
    "embedding_similarity": f"{FILL_IN}/embedding-model",
    "python": f"{FILL_IN}:score",
}
"""Kind of value → what stands for that key where it is needed and not given."""

QUESTIONS = {
    "model": "base model (hub id or folder)",
    "prompts": "prompts (table, folder or hub data set)",
    "value": "values, as humor=sequence_classifier:MODEL, with spaces between them",
    "palette": "palettes, as fun=humor:q70,fluency:mean, with spaces between them",
}
"""Option → what is asked on a terminal where it is not given."""


def main(argv: list[str] | None = None) -> int:
    """Write a config; 0, or 2 with one line on stderr on bad input.

    Raises:
        SystemExit: after `--help`.
    """
    try:
        options = make_parser().parse_args(argv)
        path = Path(options.file)
        if path.exists():
            raise InputError(f"{path}: is there already, and is never overwritten; name another")
        if sys.stdin.isatty():
            _ask(options)
        text, missing = config_text(options)
        _check(text, path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as fault:
            raise InputError(f"{path}: cannot be written ({fault.strerror})") from fault
    except InputError as error:
        print("polyalign: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    print(f"{path} is written")
    for what in missing:
        print(f"to fill in: {what}")
    print(f"next: {'fill in, then ' if missing else ''}polyalign check {path}")
    return 0


def make_parser() -> Parser:
    """The arguments of this command."""
    parser = Parser(
        prog="polyalign init",
        description=__doc__,
        epilog="example: polyalign init my.yaml --model gpt2 --prompts prompts.jsonl "
        "--value fluency=log_likelihood --value humor=sequence_classifier:org/humor "
        "--palette fun=humor:q70,fluency:mean",
    )
    parser.add_argument("file", metavar="FILE.yaml", help="the config to write; a new file")
    parser.add_argument("--study", help="name of the study (default: that of the file)")
    parser.add_argument("--model", help="base model: hub id, folder, adapter or GGUF file")
    parser.add_argument(
        "--prompts", action="append", metavar="PATH", help="table, folder or hub data set; repeat"
    )
    parser.add_argument(
        "--scores",
        metavar="TABLE",
        help="start from a table of scores, without a model; its columns are the values",
    )
    parser.add_argument(
        "--value",
        action="append",
        metavar="NAME=KIND[:WHAT]",
        help="a value; WHAT is its model (sequence_classifier, embedding_similarity), its function "
        "(python) or its column; repeat",
    )
    parser.add_argument(
        "--palette",
        action="append",
        metavar="NAME=VALUE:LEVEL,…",
        help="a palette, as fun=humor:q70,fluency:mean; repeat",
    )
    return parser


def _ask(options: argparse.Namespace) -> None:
    """Ask for what no option says; an empty answer leaves it to be filled in."""
    for name, question in QUESTIONS.items():
        scores = options.scores is not None and name != "palette"
        if getattr(options, name) is None and not scores:
            said = input(f"{question} [later]: ").split()
            if said:
                setattr(options, name, said[0] if name == "model" else said)


def config_text(options: argparse.Namespace) -> tuple[str, list[str]]:
    """The config, and what in it the user has to fill in.

    Raises:
        InputError: on an option that is not understood.
    """
    if options.scores is not None and (options.model or options.prompts):
        raise InputError("--scores needs no --model and no --prompts; give one or the other")
    values = _values(options)
    palettes = _palettes(options.palette, list(values))
    study = options.study or Path(options.file).stem
    missing = [
        f"values.{name}.{key}"
        for name, spec in values.items()
        for key, text in spec.items()
        if text.startswith(FILL_IN)
    ]
    head = HEAD.format(study=_yaml(study))
    if options.scores is not None:
        start = SCORES.format(table=_yaml(options.scores))
    else:
        prompts = options.prompts or [f"{FILL_IN}/prompts.jsonl"]
        model = options.model or f"{FILL_IN}/base-model"
        missing = [
            *([] if options.model else ["model.source"]),
            *([] if options.prompts else ["prompts.sources[0].path"]),
            *missing,
        ]
        sources = "\n".join(f"    - {{path: {_yaml(path)}}}" for path in prompts)
        start = MODEL.format(model=_yaml(model), sources=sources)
    names = "[" + ", ".join(map(_yaml, palettes)) + "]"
    parts = [
        head + start,
        VALUES + _mappings(values),
        PALETTES + _mappings(palettes),
        POLICIES.format(names=names) + ("" if options.scores else TRAINED.format(names=names)),
    ]
    return "\n".join(parts), missing


def _values(options: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Value → its section."""
    from polyalign import rewards

    if options.value is None and options.scores is not None:
        from polyalign.data.rewards_table import value_columns
        from polyalign.data.tables import read_table

        names = value_columns(read_table(options.scores))
        if not names:
            raise InputError(f"{options.scores}: no column of numbers to take as a value")
        return {name: {"kind": "column"} for name in names}
    found: dict[str, dict[str, str]] = {}
    for item in options.value or ["humor=sequence_classifier", "fluency=log_likelihood"]:
        name, _, spec = item.partition("=")
        kind, _, what = spec.partition(":")
        if not name or kind not in rewards.KINDS or (what and kind not in WHAT):
            raise InputError(
                f"--value {item}: is not understood; expected NAME=KIND or NAME=KIND:WHAT with one "
                f"of the kinds {', '.join(rewards.KINDS)}"
            )
        if name in found:
            raise InputError(f"--value {name}: is given twice; give it once")
        what = what or NEEDED.get(kind, "")
        found[name] = {"kind": kind, **({WHAT[kind]: what} if what else {}), **_label(kind, what)}
    return found


def _label(kind: str, model: str) -> dict[str, str]:
    """The label to fill in, where a classifier that is here has several."""
    from polyalign.models.sources import label_names

    names = label_names(model) if kind == "sequence_classifier" else None
    if names is None or len(names) < 2:
        return {}
    return {"index": f"{FILL_IN}: {' or '.join(names)}"}


def _palettes(items: Sequence[str] | None, values: Sequence[str]) -> dict[str, dict[str, str]]:
    """Palette → value → level; without any, one that raises the first value."""
    if not items:
        levels = dict.fromkeys(values, "mean") | {values[0]: "q70"}
        return {f"{values[0]}-70": levels}
    found: dict[str, dict[str, str]] = {}
    for item in items:
        name, _, text = item.partition("=")
        pairs = [part.rpartition(":") for part in text.split(",")]
        if not name or not all(value and level for value, _, level in pairs):
            raise InputError(
                f"--palette {item}: is not understood; expected NAME=VALUE:LEVEL,VALUE:LEVEL, such "
                "as fun=humor:q70,fluency:mean"
            )
        if name in found or len({value for value, _, _ in pairs}) < len(pairs):
            raise InputError(f"--palette {item}: names something twice; name it once")
        found[name] = {value: level for value, _, level in pairs}
    return found


def _mappings(sections: Mapping[str, Mapping[str, str]]) -> str:
    lines = [
        f"  {_yaml(name)}: {{{', '.join(f'{_yaml(k)}: {_yaml(v)}' for k, v in section.items())}}}"
        for name, section in sections.items()
    ]
    return "\n".join(lines) + "\n"


def _yaml(text: str) -> str:
    """A text in YAML, in quotes unless it is certainly a text without them."""
    plain = text.replace("-", "").replace("_", "").replace("/", "").replace(".", "")
    safe = plain.isascii() and plain.isalnum() and text[0].isalpha()
    words = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
    return text if safe and text.lower() not in words else json.dumps(text, ensure_ascii=False)


def _check(text: str, path: Path) -> None:
    """Refuse what `polyalign check` would refuse, apart from what is to be filled in."""
    from polyalign.study import load

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.yaml"
        draft.write_text(text, encoding="utf-8")
        try:
            load(draft)
        except InputError as error:
            faults = [line for line in str(error).splitlines() if FILL_IN not in line]
            if faults:
                said = "; ".join(faults).replace(str(draft), path.name)
                raise InputError(f"{said} (nothing is written)") from error


HEAD = """\
# A study of your own. `polyalign check` names every fault at once and prints the plan; every key is
# explained in docs/config.md. Paths start at the folder in which polyalign is called.

study: {study}    # everything is written below results/ in a folder of this name
seed: 1    # one seed for the whole study

"""

MODEL = """\
model:
  source: {model}    # hub id, folder, LoRA adapter or GGUF file
  dtype: float32    # or bfloat16, float16

prompts:
  sources:    # tables with a column `prompt`, folders in Anthropic HH's layout, hub data sets
{sources}
  template: "{{prompt}}"    # what the model reads; `chat` for the chat template of its tokenizer
  limit: 1000    # at most this many distinct prompts
  test_share: 0.5    # λ is fitted on the rest, and policies are judged on this share

# How the base policy samples. Decoding, training and evaluation all use the same.
sampling:
  temperature: 1.0
  max_new_tokens: 64
  candidates: 16    # of each prompt, that decoding chooses from; more reach further
"""

SCORES = """\
rewards: {table}    # prompts, responses and scores; nothing is generated

prompts:
  test_share: 0.5    # for tables without a column `split`
"""

VALUES = """\
# One reward of each value. Kinds: sequence_classifier, embedding_similarity, log_likelihood,
# ngram_diversity, judge, http, python (a function of yours), column (of a table of scores). See
# docs/generation.md.
values:
"""

PALETTES = """\
# The level that each palette asks of a value: a number in its units, q70 (a quantile of the base
# policy), mean (keep the level), mean+0.5sd, +10%, max. See docs/map.md.
palettes:
"""

POLICIES = """\
# How palettes are realised. `map-d` and `best-of` choose among the candidates.
policies:
  map-d: {{palettes: {names}}}
  best-of: {{palettes: {names}}}
"""

TRAINED = """\
  # rloo: {{palettes: {names}, steps: 200}}    # reinforcement learning; see docs/training.md
"""
