"""A study whose answers a judge compares, against a stand-in server, to its tables and its page."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import planned, snakemake
from standin import SECRET, Reply, chat, stand_in

STUDY = {
    "study": "judged",
    "rewards": "scores.csv",
    "values": {"long": {"kind": "column"}, "even": {"kind": "column"}},
    "palettes": {"longer": {"long": "q60", "even": "mean"}},
    "policies": {"map-d": {"palettes": ["longer"]}, "best-of": {"palettes": ["longer"]}},
    "evaluation": {"bootstrap": 50},
    "plots": [],
}
RUBRIC = "Q {prompt}\nA: {first}\nB: {second}\nEnd with A, B or tie."


def longer(body: Any, number: int) -> Reply:
    """A judge that prefers the longer answer, and repeats the key that it was sent."""
    _, first, second, _ = body["messages"][0]["content"].split("\n")
    a, b = len(first), len(second)
    return chat(f"{SECRET} {'A' if a > b else 'B' if b > a else 'tie'}")


def test_a_judge_stands_beside_the_rewards_and_its_key_nowhere(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (f"prompt {n}", "x" * (1 + (5 * n + 3 * k) % 7), k % 2, 1 + (5 * n + 3 * k) % 7)
        for n in range(60)
        for k in range(8)
    ]
    table = pd.DataFrame(rows, columns=["prompt", "response", "even", "long"])
    table.to_csv(checkout / "scores.csv", index=False)
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    results = checkout / "results/judged"
    with stand_in(longer) as server:

        def config(**judge: Any) -> None:
            asked = {"endpoint": server.url, "model": "m", "rubric": RUBRIC, **judge}
            asked |= {"key_env": "JUDGE_KEY", "prompts": 12}
            study = STUDY | {"evaluation": {"bootstrap": 50, "judge": asked}}
            (checkout / "study.yaml").write_text(yaml.safe_dump(study))

        command = ["--cores", "2", "--configfile", "study.yaml", "--"]
        targets = ["results/judged/overview.html", "results/judged/tables/judge.html"]
        config(max_calls=3)
        stopped = snakemake(checkout, *command, *targets)
        assert stopped.returncode != 0
        assert "max_calls allows 3 requests" in stopped.stdout
        assert len(server.asked) == 3
        config(max_calls=48)
        done = snakemake(checkout, *command, *targets)
        assert done.returncode == 0, done.stdout
        asked = len(server.asked)
        assert 3 < asked <= 48
        assert len(set(server.questions())) == asked
        assert set(server.keys) == {f"Bearer {SECRET}"}
        config(max_calls=50, parallel=1)
        # The page shows the config.
        shown = {"overview", "resolved_config"}
        assert planned(checkout, "--configfile", "study.yaml", "--", *targets) == shown
        config(seed=1)
        again = planned(checkout, "--configfile", "study.yaml", "--", *targets)
        assert {"judge:map-d:longer", "judge:best-of:longer", "judged", "overview"} <= again
        assert not {one for one in again if one.startswith(("decode", "winrate", "solve"))}
    judged = pd.read_csv(results / "tables/judge.csv").set_index("family")
    assert set(judged.index) == {"map-d", "best-of"}
    assert (judged["n_pairs"] == 12).all()
    assert (judged["differ"] == 0).all()
    assert (judged["long_agreement"] == 1).all()
    assert judged["winrate"].tolist() == pytest.approx(judged["long_reward_winrate"].tolist())
    assert "By a judge" in (results / "overview.html").read_text()
    answers = (results / "calls/pairs/answers.jsonl").read_text().splitlines()
    assert len(answers) == asked == (results / "calls/pairs/calls").stat().st_size
    assert json.loads(answers[0])["answer"].startswith("*** ")
    for path in [*results.rglob("*"), *(checkout / ".snakemake").rglob("*")]:
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in stopped.stdout + done.stdout
