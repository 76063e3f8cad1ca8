"""The model card of a model that the workflow trained: README.md in its folder.

It says what the model was made from and how, for people who get the folder alone. No answer of the
model depends on it, so its text is no reason to train again: it is written here, where code does
not count (polyalign.runtime.code). Two equal runs of one commit write the same bytes. What users
wrote (names, templates, paths) stands in code spans, where Markdown and HTML mean nothing.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from polyalign import __version__
from polyalign.runtime.commit import commit
from polyalign.runtime.files import write_text

CARD = "README.md"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
LIBRARIES = {"config.json": "transformers", "adapter_config.json": "peft"}
"""File in a model's folder → the library that loads it."""

KINDS = {
    "reward": "A reward model",
    "soup": "A weighted average of models",
    "value": "Soft values of unfinished responses, for any λ",
}
"""Folder of a model that is no ordinary language model → what it is."""

FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.DOTALL)
"""The facts in YAML at the head of a model card, as the hub has them."""


def write_card(
    folder: str | Path,
    manifest: str | Path,
    settings: Mapping[str, Any],
    record: Mapping[str, Any],
    inputs: Mapping[str, Sequence[Path]],
    bases: Mapping[str, str],
) -> None:
    """Write the model card.

    Args:
        folder: the model's folder.
        manifest: path of its manifest; a target of the workflow.
        settings: of its job.
        record: of its training.
        inputs: of its job: name → paths. The palette is read, the others are named.
        bases: models that it was made from: what the config calls them → folder, file or hub id.
    """
    licences = {source: licence(place) for source, place in bases.items()}
    parts = [
        _front(Path(folder), bases, licences),
        f"# {Path(manifest).parent.name}/{Path(manifest).stem}",
        f"{_what(Path(manifest), inputs)}, made by Polyalign {__version__}.",
        _section("Base", _base(bases, licences)),
        _section("Levels and λ", _levels(inputs, record)),
        _section("Data", _data(settings, inputs)),
        _section("How it was made", _made(Path(manifest), settings)),
        _section("What its training says", _outcome(record)),
        _section("Agreement with people", _agreement(record.get("card", {}))),
    ]
    write_text(Path(folder) / CARD, "\n\n".join(filter(None, parts)) + "\n")


def _what(manifest: Path, inputs: Mapping[str, Sequence[Path]]) -> str:
    if "palette" in inputs:
        return "A language model trained to reach the levels of a palette near its base model"
    return KINDS.get(manifest.parent.name, "A language model")


def code(text: object) -> str:
    """Any text on one line of code in Markdown; what has no picture is escaped."""
    plain = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, sort_keys=True)
    shown = "".join(
        letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in plain
    )
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if not shown or {shown[0], shown[-1]} & {" ", "`"} else ""
    return f"{fence}{space}{shown}{space}{fence}"


def licence(place: str) -> str:
    """The licence that the model card beside a model names; empty if it names none.

    A model of the hub that is not a folder is not asked for: the run may have no network.
    """
    found = Path(place)
    card = (found if found.is_dir() else found.parent) / CARD
    if not found.exists() or not card.is_file():
        return ""
    head = FRONT.match(card.read_text(encoding="utf-8", errors="replace"))
    try:
        facts = yaml.safe_load(head[1]) if head else {}
    except yaml.YAMLError:
        return ""
    said = facts.get("license") if isinstance(facts, dict) else None
    return said if isinstance(said, str) else ""


def _front(folder: Path, bases: Mapping[str, str], licences: Mapping[str, str]) -> str:
    """What the hub reads: only what it understands."""
    hub = [source for source in bases if HUB_ID.fullmatch(source) and not Path(source).exists()]
    known = set(licences.values())
    facts: dict[str, Any] = {
        "tags": ["polyalign"],
    }
    for file, library in LIBRARIES.items():
        if (folder / file).is_file():
            facts["library_name"] = library
    if hub:
        facts["base_model"] = hub
    if len(known) == 1 and (one := known.pop()):
        facts["license"] = one
    return f"---\n{yaml.safe_dump(facts, allow_unicode=False)}---"


def _section(title: str, lines: Iterator[str]) -> str:
    text = "\n".join(lines)
    return f"## {title}\n\n{text}" if text else ""


def _base(bases: Mapping[str, str], licences: Mapping[str, str]) -> Iterator[str]:
    for source in bases:
        said = code(licences[source]) if licences[source] else "not known here; see its own page"
        yield f"- {code(source)}; licence: {said}"


def _levels(inputs: Mapping[str, Sequence[Path]], record: Mapping[str, Any]) -> Iterator[str]:
    """The palette: what was asked, solved and, where the training measured it, reached."""
    if "palette" not in inputs:
        lam = record.get("settings", {}).get("lam")
        if lam:
            yield f"Trained with a λ that was drawn at random, without a palette: {code(lam)}."
        return
    (file,) = inputs["palette"]
    solved = json.loads(file.read_text(encoding="utf-8"))
    loop = record.get("closed_loop", {})
    lam = loop.get("lam") or record.get("settings", {}).get("lam") or {}
    reached = loop.get("levels", {})
    yield f"Palette {code(solved['palette'])}, scope {solved['scope']}."
    if solved["adjusted"]:
        yield "It is not supported as asked: this model aims at "
        yield f"{solved['reached']:.1%} of the way from the base levels to what was asked."
    yield ""
    yield "| value | asked | level aimed at | base | expected | in training | λ of this model |"
    yield "|---|---|---|---|---|---|---|"
    columns = (solved["values"], solved["target"], solved["base"], solved["realised"])
    for value, target, base, level in zip(*columns, strict=True):
        words = [code(value), code(solved["levels"].get(value, ""))]
        cells = [*(word.replace("|", "\\|") for word in words), _number(target), _number(base)]
        cells += [_number(level), _number(reached.get(value)), _number(lam.get(value))]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "Levels are mean rewards. *Expected* is the level of selection among the base model's"
    yield "candidates at the λ solved on them; *in training* is the mean over the last batches."
    yield f"Selection costs {_number(solved.get('kl'))} nats of KL to the base model per response."


def _data(settings: Mapping[str, Any], inputs: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    for name, paths in sorted(inputs.items()):
        if not name.startswith(("base", "model", "palette", "rewards")):
            yield f"- {code(name)}: {', '.join(map(code, sorted(map(str, paths))))}"
    for name, pairs in sorted((settings.get("preferences") or {}).items()):
        yield f"- preference pairs {code(name)}: {code(pairs['source'])}"
    if settings.get("pairs"):
        yield f"- preference pairs: {code(settings['pairs']['source'])}"


def _made(manifest: Path, settings: Mapping[str, Any]) -> Iterator[str]:
    command = f"snakemake --cores 2 {manifest} --configfile {manifest.parents[2] / 'config.json'}"
    yield f"- command: {code(command)}"
    yield f"- version: {code(f'polyalign {__version__}')}"
    if found := commit():
        yield f"- commit: {code(found)}"
    if "seed" in settings:
        yield f"- seed: {settings['seed']}"
    for name, what in sorted(settings.items()):
        if name not in ("seed", "values", "preferences", "pairs"):
            yield f"- {name}: {code(what)}"


def _outcome(record: Mapping[str, Any]) -> Iterator[str]:
    for name in ("steps", "parameters", "counts", "held_out", "judged"):
        if name in record:
            yield f"- {name}: {code(record[name])}"
    if "kl" in (record.get("metrics") or {}):
        kl = record["metrics"]["kl"]
        yield f"- KL to the base model at the last step: {_number(kl)} nats per response"
    stopped = record.get("closed_loop", {}).get("stopped")
    if stopped:
        yield f"- λ stopped to move: {code(stopped)}"


def _agreement(card: Mapping[str, Any]) -> Iterator[str]:
    """How far a reward model agrees with the people whose texts were held out."""
    for name, found in card.get("agreement", {}).items():
        rho, auc = (
            f"{_number(estimate)} ({_number(low)} to {_number(high)})"
            for estimate, low, high in (found["rho"], found["auc"])
        )
        length = _number(found["rho_length"])
        yield f"- {code(name)}: Spearman's ρ {rho}, AUC {auc}; ρ with length {length}"
    if card.get("kind") == "pairs":
        share, low, high = map(_number, card["accuracy"])
        yield f"- accuracy on held-out pairs: {share} ({low} to {high})"
        yield f"- ρ with length: {_number(card['rho_length'])}"
    if card:
        yield f"- calibration error: {_number(card['calibration']['error'])}"
        yield "- computed from `held_out.parquet`; all numbers are in `card.json`"
    if ceiling := card.get("ceiling"):
        yield (
            f"- a perfect model would have ρ {_number(ceiling['rho'])}, one rater has "
            f"{_number(ceiling['one_rater'])} (on {ceiling['texts']} texts)"
        )


def _number(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}"
