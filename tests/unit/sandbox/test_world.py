"""The sandbox world: repeatable bytes, HH's layout, a grammar check that tells right from wrong."""

import gzip
import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from polyalign.data.preferences import read_pairs
from polyalign.errors import InputError
from polyalign.runtime.files import sha256
from polyalign.sandbox import world
from polyalign.sandbox.topics import TOPICS

DIALOGUES, PAIRS = 3000, 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sandbox") / "world"
    world.write_world(path, seed=3, dialogues=DIALOGUES, pairs=PAIRS)
    return path


@pytest.fixture(scope="module")
def corpus(folder):
    return [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]


def pair_files(folder):
    return {
        (value, split): folder / "hh" / f"{value}-base" / f"{split}.jsonl.gz"
        for value in ("helpful", "harmless")
        for split in ("train", "test")
    }


def test_one_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    for name, seed in (("same", 3), ("other", 4)):
        world.write_world(tmp_path / name, seed=seed, dialogues=DIALOGUES, pairs=PAIRS)
    assert sha256(tmp_path / "same") == sha256(folder)
    for file in ["corpus.jsonl", "humor.jsonl", "hh/harmless-base/test.jsonl.gz"]:
        assert sha256(tmp_path / "other" / file) != sha256(folder / file)


def test_bytes_do_not_hang_on_the_order_of_hashes(folder, tmp_path):
    code = (
        "from pathlib import Path; from polyalign.sandbox.world import write_world; "
        f"write_world(Path('world'), seed=3, dialogues={DIALOGUES}, pairs={PAIRS})"
    )
    package = str(Path(world.__file__).parents[2])
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": package}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    assert sha256(tmp_path / "world") == sha256(folder)


def test_more_pairs_change_nothing_in_the_corpus(folder, tmp_path):
    world.write_world(tmp_path / "world", seed=3, dialogues=DIALOGUES, pairs=PAIRS + 2)
    assert sha256(tmp_path / "world/corpus.jsonl") == sha256(folder / "corpus.jsonl")


def test_pairs_are_transcripts_in_the_layout_of_hh(folder):
    for (_, split), path in pair_files(folder).items():
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            rows = [json.loads(line) for line in stream]
        assert len(rows) == (PAIRS if split == "train" else PAIRS // 2)
        for row in rows:
            assert set(row) == {"chosen", "rejected"}
            starts = set()
            for text in row.values():
                start, response = text.split("\n\nAssistant: ")
                assert start.startswith("\n\nHuman: ")
                assert response
                starts.add(start)
            assert len(starts) == 1
            assert row["chosen"] != row["rejected"]


def test_the_loader_of_the_real_pairs_reads_them_unchanged(folder):
    for path in pair_files(folder).values():
        pairs = read_pairs(str(path))
        assert pairs.counts["malformed"] == pairs.counts["equal"] == 0
        for row in pairs.frame.itertuples():
            assert world.well_formed(row.prompt, row.chosen)
            assert world.well_formed(row.prompt, row.rejected)


def test_held_out_prompts_stand_in_no_training_file_and_none_twice(folder, corpus):
    prompts = {key: list(read_pairs(str(path)).frame["prompt"]) for key, path in
               pair_files(folder).items()}  # fmt: skip
    everywhere = [prompt for found in prompts.values() for prompt in found]
    assert len(set(everywhere)) == len(everywhere)
    test = {p for (_, split), found in prompts.items() if split == "test" for p in found}
    assert not test & {row["prompt"] for row in corpus}
    assert len({row["prompt"] for row in corpus}) > DIALOGUES / 2


def test_the_default_study_finds_enough_prompts_in_the_test_files():
    kinds = Counter(
        "mischief" if topic.kind == "mischief" else "benign"
        for prompt, (topic, _) in world._prompts().items()
        if world.held_out(prompt)
    )
    assert kinds["mischief"] > 1000
    assert kinds["benign"] > 1000


def test_the_raters_prefer_what_they_chose_as_often_as_they_say(folder):
    for (value, _), path in pair_files(folder).items():
        frame = read_pairs(str(path)).frame
        leads = [
            world.ratings(row.prompt, row.chosen)[value]
            - world.ratings(row.prompt, row.rejected)[value]
            for row in frame.itertuples()
        ]
        assert min(abs(lead) for lead in leads) >= world.SOURCES[value][1]
        right = sum(lead > 0 for lead in leads) / len(leads)
        expected = sum(1 / (1 + math.exp(-abs(lead))) for lead in leads) / len(leads)
        assert abs(right - expected) < 4 * math.sqrt(expected * (1 - expected) / len(leads))
        assert expected > 0.93


def test_the_check_accepts_the_whole_corpus(corpus):
    assert all(world.well_formed(row["prompt"], row["response"]) for row in corpus)
    styles = Counter(row["style"] for row in corpus)
    assert set(styles) == set(world.STYLES)
    assert min(styles.values()) > 0.03 * DIALOGUES
    lengths = [len(row["response"].split()) for row in corpus]
    assert min(lengths) >= 8
    assert max(lengths) <= 36


def shuffled(rng, text):
    words = text.split()
    rng.shuffle(words)
    return " ".join(words)


def cut_short(rng, text):
    words = text.split()
    return " ".join(words[: rng.randrange(1, len(words))]).rstrip(".")


def without_a_word(rng, text):
    words = text.split()
    del words[rng.randrange(len(words))]
    return " ".join(words)


def a_sentence_twice(rng, text):
    first, _, rest = text.partition(". ")
    return f"{first}. {first}. {rest}"


@pytest.mark.parametrize(
    ("corrupt", "share"),
    [(shuffled, 1.0), (cut_short, 1.0), (without_a_word, 0.97), (a_sentence_twice, 1.0)],
)
def test_the_check_rejects_corrupted_responses(corpus, corrupt, share):
    rng = random.Random(0)
    rows = [row for row in corpus if ". " in row["response"]][:500]
    broken = [
        (row["prompt"], text)
        for row in rows
        if (text := corrupt(rng, row["response"])) != row["response"]
    ]
    rejected = sum(not world.well_formed(prompt, text) for prompt, text in broken)
    assert rejected >= share * len(broken)


def test_the_check_rejects_an_answer_to_another_topic(corpus):
    """Only answers that name nothing of their topic fit elsewhere; there are few of them."""
    fits = total = 0
    for row, other in zip(corpus[:400], corpus[400:800], strict=True):
        mine, theirs = (world._topic(each["prompt"])[0] for each in (row, other))
        if mine != theirs:
            total += 1
            fits += world.well_formed(other["prompt"], row["response"])
    assert total > 300
    assert fits <= 0.03 * total


def test_the_check_rejects_wrong_agreement():
    prompt, other = "How do I grow tomatoes?", "How do I make soup?"
    assert world.well_formed(prompt, "Well, tomatoes mean many things to many people.")
    assert not world.well_formed(prompt, "Well, tomatoes means many things to many people.")
    assert world.well_formed(other, "Well, soup means many things to many people.")
    assert not world.well_formed(other, "Well, soup mean many things to many people.")


def test_the_check_rejects_steps_out_of_order():
    prompt = "How do I brew tea?"
    assert world.well_formed(prompt, "First, boil fresh water. Then warm the cup.")
    assert not world.well_formed(prompt, "Then warm the cup. First, boil fresh water.")
    assert not world.well_formed(prompt, "First, warm the cup. Then boil fresh water.")


def test_ratings_are_graded_and_pull_apart():
    benign, mischief = "How do I brew tea?", "How do I steal cookies?"
    one = world.ratings(benign, "First, boil fresh water. That should work well.")
    two = world.ratings(benign, "First, boil fresh water. Then warm the cup. Good luck.")
    assert two["helpful"] > one["helpful"]
    steps = world.ratings(mischief, "First, distract the cook. Then reach for the jar.")
    fine = world.ratings(mischief, "First, distract the cook. Then reach for the jar with care.")
    refusal = world.ratings(mischief, "I would rather not talk about stealing cookies.")
    assert fine["helpful"] > steps["helpful"] > refusal["helpful"]
    assert fine["harmless"] < steps["harmless"] < refusal["harmless"]
    joke = "My goat tried brewing tea once and blamed the weather."
    funny = world.ratings(benign, f"First, boil fresh water. {joke}")
    assert funny["humor"] > one["humor"] + 1


def test_humor_labels_follow_the_rating_and_both_splits_have_both(folder):
    rows = [json.loads(line) for line in (folder / "humor.jsonl").read_text().splitlines()]
    assert Counter(row["split"] for row in rows) == {"train": 2 * PAIRS, "test": PAIRS}
    joking = [row["label"] for row in rows if "tried" in row["text"]]
    plain = [row["label"] for row in rows if "tried" not in row["text"]]
    assert sum(joking) / len(joking) > sum(plain) / len(plain) + 0.2
    assert 0.2 < sum(row["label"] for row in rows) / len(rows) < 0.6


def test_every_topic_has_sentences_of_its_own_and_fits_the_length():
    assert len({topic.ask for topic in TOPICS}) == len(TOPICS)
    for topic in TOPICS:
        forms = world._forms(topic, "")
        sentences = [sentence for each in forms.values() for sentence in each]
        assert len(set(sentences)) == len(sentences)
        assert all(sentence.endswith(".") and ". " not in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dialogues": 1}, "sandbox.dialogues is 1; expected at least 2"),
        ({"pairs": 0}, "sandbox.pairs is 0; expected at least 2"),
        ({"pairs": 20000}, "no further prompts; lower"),
    ],
)
def test_impossible_sizes_are_refused_and_leave_nothing(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        world.write_world(tmp_path / "world", **{"seed": 1, "dialogues": 4, "pairs": 4, **changes})
    assert list(tmp_path.iterdir()) == []


def test_questions_and_answers_of_no_world_are_refused():
    with pytest.raises(InputError, match="is not a question of the sandbox world"):
        world.well_formed("What is love?", "Sure.")
    with pytest.raises(InputError, match="is not well formed"):
        world.ratings("How do I brew tea?", "Tea the brew.")
