"""How much text a study reads, counted before it runs: prompts, preference pairs, labelled texts.

Local files are counted, small ones exactly as the jobs will read them, large ones by their rows.
What the sandbox will write follows from its config. Hub data sets are not downloaded: their sizes
are assumed, and the forecast says so.
"""

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import pyarrow.parquet as pq

from polyalign.data.formats import PAIRS_FILES, split_file
from polyalign.data.packed import file_of
from polyalign.data.preferences import read_pairs
from polyalign.data.prompts import source_prompts
from polyalign.data.tables import read_table
from polyalign.errors import InputError
from polyalign.models.encoding import ALPACA_ALONE
from polyalign.plan.resources import PAIRS, PROMPT_TOKENS, PROMPTS
from polyalign.plan.stages.shared import pairs_settings
from polyalign.settings import ALPACA
from polyalign.settings import CHAT as CHAT_TEMPLATE
from polyalign.study import Study
from polyalign.study.sections import PromptSource

CHARACTERS = 4.0
"""Characters per token of English text, roughly, whichever the tokenizer."""

CHAT = 30
"""Tokens that a chat template adds to a prompt."""

SMALL = 32 * 2**20
"""Files up to this size (bytes) are read whole."""

SAMPLE = 1000
"""Texts of a small file whose lengths are looked at."""

RESPONSE_SHARE = 0.75
"""Length of a response as a share of the limit: many end before it."""

BOUNDED, GUESSED = 1.5, 2.5
"""Factors by which a total time may be wrong: where only lengths are assumed, or numbers too."""

SANDBOX_PROMPT, SANDBOX_RESPONSE = 58, 117
"""Characters of the sandbox's prompts and responses, on average."""


@dataclass(frozen=True)
class Texts:
    """Texts of one kind.

    Attributes:
        number: how many.
        tokens: mean length in tokens, without a template.
    """

    number: float
    tokens: float


@dataclass(frozen=True)
class Counts:
    """What the jobs of a study will read.

    Attributes:
        prompts: the distinct prompts.
        pairs: name of a preference data set → its training pairs, prompt and one response each.
        labels: name of a reward model → the labelled texts that it is trained on.
        template: tokens that the study's template adds to a prompt.
        response: mean tokens of a response.
        assumed: what could not be counted, one sentence each → the factor by which the total time
            may be wrong because of it.
    """

    prompts: Texts
    pairs: dict[str, Texts]
    labels: dict[str, Texts]
    template: float
    response: float
    assumed: dict[str, float] = field(default_factory=dict)


def counts(study: Study) -> Counts:
    """Count what a study reads; what cannot be counted is assumed."""
    assumed: dict[str, float] = {}
    return Counts(
        prompts=_prompts(study, assumed),
        pairs={name: _pairs(study, name, assumed) for name in study.preferences},
        labels={
            name: _labels(study, made.labels.path, assumed)
            for name, made in study.reward_models.items()
            if made.labels
        },
        template=template_tokens(study.prompts.template),
        response=RESPONSE_SHARE * study.sampling.max_new_tokens,
        assumed=assumed,
    )


def template_tokens(template: str) -> float:
    """Tokens of the text around a prompt or response."""
    if template == CHAT_TEMPLATE:
        return CHAT
    written = ALPACA_ALONE if template == ALPACA else template
    return len(written.replace("{prompt}", "")) / CHARACTERS


def _prompts(study: Study, assumed: dict[str, float]) -> Texts:
    if study.rewards is not None:
        return Texts(_table_prompts(Path(study.rewards)), PROMPT_TOKENS)
    found = [_source(study, source, assumed) for source in study.prompts.sources]
    number = sum(texts.number for texts in found)
    limit = study.prompts.limit
    tokens = mean(texts.tokens for texts in found) if found else PROMPT_TOKENS
    return Texts(number if limit is None else min(limit, number), tokens)


def _table_prompts(table: Path) -> float:
    """Distinct prompts of a table of scores; `PROMPTS` if it cannot be read."""
    try:
        frame = read_table(table)
    except InputError:
        return PROMPTS
    return float(frame["prompt"].nunique()) if "prompt" in frame else PROMPTS


def _source(study: Study, source: PromptSource, assumed: dict[str, float]) -> Texts:
    file = _file(source.path, source.split)
    if file is None and _of_sandbox(study, source.path) and study.sandbox is not None:
        # There are half as many test pairs as training pairs.
        number = study.sandbox.pairs / (2 if source.split == "test" else 1)
        return Texts(number, SANDBOX_PROMPT / CHARACTERS)
    if file is None:
        limit = study.prompts.limit
        number, why = (PROMPTS, "") if limit is None else (limit, " (prompts.limit)")
        sentence = f"{source.path} is not a local file: {number} prompts assumed{why}"
        assumed[sentence] = GUESSED if limit is None else BOUNDED
        return Texts(number, PROMPT_TOKENS)
    if file.stat().st_size <= SMALL:
        try:
            texts = source_prompts(**source.model_dump(), seed=study.seed).texts
        except InputError as error:
            assumed[f"{PROMPTS} prompts assumed: {error}"] = GUESSED
            return Texts(PROMPTS, PROMPT_TOKENS)
        return Texts(len(set(texts)), _tokens(texts))
    assumed[f"{file} is large: its rows count as prompts of {PROMPT_TOKENS} tokens"] = BOUNDED
    return Texts(rows_of_file(file), PROMPT_TOKENS)


def _pairs(study: Study, name: str, assumed: dict[str, float]) -> Texts:
    data = study.preferences[name]
    longest = PROMPT_TOKENS + study.sampling.max_new_tokens
    file = _file(data.path, data.train_split)
    if file is None and _of_sandbox(study, data.path) and study.sandbox is not None:
        tokens = (SANDBOX_PROMPT + SANDBOX_RESPONSE) / CHARACTERS
        return Texts(study.sandbox.pairs, tokens)
    if file is None:
        assumed[f"{data.path} is not a local file: {PAIRS} preference pairs assumed"] = GUESSED
        return Texts(PAIRS, longest)
    settings = pairs_settings(study, name)
    if file.stat().st_size <= SMALL:
        try:
            pairs = read_pairs(**settings).frame
        except InputError as error:
            assumed[f"{PAIRS} preference pairs assumed: {error}"] = GUESSED
            return Texts(PAIRS, longest)
        texts = [*(pairs["prompt"] + pairs["chosen"]), *(pairs["prompt"] + pairs["rejected"])]
        return Texts(len(pairs), _tokens(texts))
    assumed[f"{file} is large: its rows count as pairs of {longest} tokens"] = BOUNDED
    return Texts((1 - settings.get("held_out", 0)) * rows_of_file(file), longest)


def _labels(study: Study, path: str, assumed: dict[str, float]) -> Texts:
    if file_of(path).is_file():
        try:
            frame = read_table(path)
        except InputError as error:
            assumed[f"{PAIRS} labelled texts assumed: {error}"] = GUESSED
            return Texts(PAIRS, PROMPT_TOKENS)
        frame = frame[frame["split"] == "train"] if "split" in frame else frame
        column = "text" if "text" in frame else frame.columns[0]
        return Texts(len(frame), _tokens([str(text) for text in frame[column]]))
    if _of_sandbox(study, path) and study.sandbox is not None:
        # There are twice as many labelled training texts as pairs.
        return Texts(2 * study.sandbox.pairs, SANDBOX_RESPONSE / CHARACTERS)
    assumed[f"{path} is not there yet: {PAIRS} labelled texts assumed"] = GUESSED
    return Texts(PAIRS, PROMPT_TOKENS)


def _of_sandbox(study: Study, path: str) -> bool:
    return study.sandbox is not None and path.startswith(f"results/{study.study}/world/")


def _file(path: str, split: str) -> Path | None:
    """The local file of a split of a data set; None for one on the hub, or not made yet."""
    file = file_of(path)
    return file if file.is_file() else split_file(path, split)


def _tokens(texts: Sequence[str]) -> float:
    """Mean tokens of the first texts."""
    return max(1.0, mean(len(text) for text in texts[:SAMPLE]) / CHARACTERS) if texts else 1.0


def rows_of_file(file: Path) -> int:
    """Rows of a table or JSONL file, without parsing more of it than needed."""
    if file.suffix == ".parquet":
        return int(pq.ParquetFile(file).metadata.num_rows)
    if file.suffix == ".csv":
        with file.open(newline="", encoding="utf-8", errors="replace") as stream:
            return max(0, sum(1 for _ in csv.reader(stream)) - 1)
    if file.name.endswith(PAIRS_FILES):
        return sum(1 for line in _lines(file) if line.strip())
    return len(read_table(file))


def _lines(file: Path) -> Iterator[bytes]:
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        yield from stream
