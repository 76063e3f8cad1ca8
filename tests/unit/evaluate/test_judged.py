"""A judge of pairs: both orders, ties, the bias for a position, agreement with rewards."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from standin import Reply, StandIn, chat, stand_in

from polyalign.data.keys import prompt_id
from polyalign.data.tables import read_table, write_table
from polyalign.data.votes import read_votes
from polyalign.errors import InputError
from polyalign.evaluate.human import human_winrate
from polyalign.evaluate.judged import agreement, combined, judged, pairs
from polyalign.evaluate.voting import votes_of
from polyalign.report.judged import judge as judge_table
from polyalign.rewards.judging import NoVerdictError, PairJudge
from polyalign.rewards.verdicts import preferred

RUBRIC = "Q {prompt}\nA: {first}\nB: {second}\nEnd with A, B or tie."


def table(responses: dict[str, list[str]], split: str = "test") -> pd.DataFrame:
    """A rewards table: the value `long` is the length of a response, `short` its negative."""
    rows = [
        {"prompt_id": prompt_id(prompt), "candidate": number, "prompt": prompt, "response": text}
        for prompt, texts in responses.items()
        for number, text in enumerate(texts)
    ]
    lengths = [len(row["response"]) for row in rows]
    values = {"long": np.array(lengths, float), "short": -np.array(lengths, float)}
    return pd.DataFrame(rows).assign(split=split, **values)


def longer(body: Any, number: int = 0) -> Reply:
    """A judge that prefers the longer answer."""
    _, first, second, _ = body["messages"][0]["content"].split("\n")
    a, b = len(first), len(second)
    return chat(f"I think: **{'A' if a > b else 'B' if b > a else 'tie'}**.")


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in(longer) as made:
        yield made


@pytest.fixture
def judge(server: StandIn, tmp_path: Path) -> Callable[..., PairJudge]:
    def made(**settings: Any) -> PairJudge:
        common = {"endpoint": server.url, "model": "m", "rubric": RUBRIC}
        return PairJudge(**common, folder=str(tmp_path / "calls"), **settings)

    return made


OURS = table({"p": ["aaaa", "x"], "q": ["b"], "r": ["same"], "s": ["tied"]})
THEIRS = table({"s": ["TIED"], "p": ["cc", "yyyyyyyy"], "q": ["ddd"], "r": ["same"]})


def votes(made: list[Any]) -> pd.DataFrame:
    return pd.DataFrame([vars(vote) for vote in made])


def test_each_pair_is_judged_in_both_orders(server: StandIn, judge: Any) -> None:
    compared = pairs(OURS, THEIRS, 100)
    assert compared["prompt_id"].is_monotonic_increasing
    made = votes(votes_of(compared, judge(), "rloo/x", "base/base", 3))
    assert sorted(server.questions()) == sorted(
        RUBRIC.format(prompt=prompt, first=first, second=second)
        for prompt, one, two in (("p", "aaaa", "cc"), ("q", "b", "ddd"), ("s", "tied", "TIED"))
        for first, second in ((one, two), (two, one))
    )
    assert len(made) == 8
    of_p = made[made["prompt"] == "p"]
    assert of_p[["first_policy", "first_response", "vote"]].to_numpy().tolist() == [
        ["rloo/x", "aaaa", "first"],
        ["base/base", "cc", "second"],
    ]
    # Equal answers are a tie, and cost nothing.
    assert made[made["prompt"] == "r"][["vote", "time"]].to_numpy().tolist() == [["tie", ""]] * 2
    assert set(made["seed"]) == {3}
    found = combined(made, "rloo/x")
    assert found["score"].to_dict() == {"p": 1.0, "q": 0.0, "r": 0.5, "s": 0.5}
    assert not found["differ"].any()
    again = votes(votes_of(compared, judge(), "rloo/x", "base/base", 3))
    assert len(server.asked) == 6
    pd.testing.assert_frame_equal(again, made)
    # Each vote by itself gives the same mean as the pairs do.
    (row,) = human_winrate(made).to_dict("records")
    assert row["winrate"] == found["score"].mean()


def test_an_order_that_decides_is_a_tie_and_counted(server: StandIn, judge: Any) -> None:
    server.answer = lambda body, number: chat("A")
    compared = pairs(OURS, THEIRS, 100)
    made = votes(votes_of(compared, judge(), "rloo/x", "base/base", 0))
    found = judged(made, compared, "rloo/x", ["long"], bootstrap=50, seed=0).iloc[0]
    assert (found["winrate"], found["ties"], found["differ"], found["first"]) == (0.5, 1, 0.75, 1)
    assert found["n_decided"] == 0
    assert math.isnan(found["agreement"])
    assert math.isnan(found["kappa"])


def test_one_order_undecided_is_a_tie(server: StandIn, judge: Any) -> None:
    def half(body: Any, number: int) -> Reply:
        ours_first = "\nA: aaaa" in body["messages"][0]["content"]
        return chat("tie") if ours_first else longer(body)

    server.answer = half
    made = votes(votes_of(pairs(OURS, THEIRS, 100), judge(), "rloo/x", "base/base", 0))
    found = combined(made, "rloo/x").loc["p"]
    assert found["score"] == 0.5
    assert found["differ"]


def test_replies_without_a_vote_leave_their_pair_out(server: StandIn, judge: Any) -> None:
    def silent(body: Any, number: int) -> Reply:
        return chat("Neither") if "\nA: b\n" in body["messages"][0]["content"] else longer(body)

    server.answer = silent
    compared = pairs(OURS, THEIRS, 100)
    made = votes(votes_of(compared, judge(), "rloo/x", "base/base", 0))
    assert len(made) == 7
    found = judged(made, compared, "rloo/x", ["long"], bootstrap=50, seed=0).iloc[0]
    assert (found["n_pairs"], found["n_unread"]) == (3, 1)
    assert found["winrate"] == pytest.approx(2 / 3)
    server.answer = lambda body, number: chat("Neither")
    with pytest.raises(InputError, match=r"gave no vote on 1 pairs.*A, B or tie"):
        votes_of(compared[compared["prompt"] == "p"], judge(seed=1), "rloo/x", "base/base", 0)


def test_the_first_prompts_by_id_and_test_prompts_alone() -> None:
    found = pairs(OURS, THEIRS, 2)
    assert found["prompt_id"].tolist() == sorted(OURS["prompt_id"].unique())[:2]
    fit = pd.concat([OURS, table({"t": ["t"]}, split="fit")])
    assert "t" not in pairs(fit, THEIRS, 9)["prompt"].tolist()
    with pytest.raises(InputError, match="no test prompt in common"):
        pairs(OURS, table({"other": ["t"]}), 2)
    with pytest.raises(InputError, match="no column response"):
        pairs(OURS.drop(columns="response"), THEIRS, 2)


def test_win_rates_and_agreement_are_those_of_a_loop() -> None:
    generator = np.random.default_rng(5)
    prompts = [f"prompt {number}" for number in range(60)]
    sides = [
        table({prompt: ["x" * generator.integers(1, 5)] for prompt in prompts}) for _ in range(2)
    ]
    compared = pairs(*sides, 100)
    rows = []
    for _, row in compared.iterrows():
        for order in (("a/b", "base/base"), ("base/base", "a/b")):
            vote = generator.choice(["first", "second", "tie"], p=[0.5, 0.3, 0.2])
            rows.append([row["prompt"], *order, vote])
    made = pd.DataFrame(rows, columns=["prompt", "first_policy", "second_policy", "vote"])
    found = judged(made, compared, "a/b", ["long", "short"], bootstrap=400, seed=1)
    scores, agree, decided, mine, theirs = [], 0, 0, 0, 0
    for _, row in compared.iterrows():
        both = made[made["prompt"] == row["prompt"]]
        winners = [
            "tie" if vote == "tie" else first if vote == "first" else second
            for vote, first, second in zip(
                both["vote"], both["first_policy"], both["second_policy"], strict=True
            )
        ]
        winner = winners[0] if winners[0] == winners[1] else "tie"
        scores.append({"a/b": 1.0, "base/base": 0.0, "tie": 0.5}[winner])
        gain = row["long_policy"] - row["long_opponent"]
        if winner != "tie" and gain != 0:
            decided += 1
            agree += (winner == "a/b") == (gain > 0)
            mine += winner == "a/b"
            theirs += gain > 0
    one, other = found.iloc[0], found.iloc[1]
    assert one["winrate"] == pytest.approx(np.mean(scores))
    assert one["se"] == pytest.approx(np.std(scores, ddof=1) / math.sqrt(60))
    assert one["low"] < one["winrate"] < one["high"]
    assert one["n_decided"] == decided > 10
    assert one["agreement"] == pytest.approx(agree / decided)
    p, q = mine / decided, theirs / decided
    chance = p * q + (1 - p) * (1 - q)
    assert one["kappa"] == pytest.approx((agree / decided - chance) / (1 - chance))
    assert one["kappa_low"] < one["kappa"] < one["kappa_high"]
    gain = compared["long_policy"] - compared["long_opponent"]
    won = ((gain > 0) + 0.5 * (gain == 0)).mean()
    assert one["reward_winrate"] == pytest.approx(won)
    # The opposite value agrees where the first does not.
    assert other["agreement"] == pytest.approx(1 - one["agreement"])
    assert other["reward_winrate"] == pytest.approx(1 - one["reward_winrate"])
    assert other["winrate"] == one["winrate"]


def test_full_agreement_has_kappa_1_and_one_sided_ones_have_none() -> None:
    mixed = np.array([1.0, 0.0] * 10)
    found = agreement(mixed, mixed, bootstrap=100, seed=0)
    assert (found["agreement"], found["kappa"]) == (1.0, 1.0)
    assert found["agreement_low"] < 1 == found["agreement_high"]
    opposite = agreement(mixed, 1 - mixed, bootstrap=100, seed=0)
    assert (opposite["agreement"], opposite["kappa"]) == (0.0, -1.0)
    one_sided = agreement(np.ones(9), np.ones(9), bootstrap=100, seed=0)
    assert one_sided["agreement"] == 1
    assert math.isnan(one_sided["kappa"])
    assert math.isnan(one_sided["kappa_low"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", "A"), ("[[B]]", "B"), ("Verdict: **A**.", "A"), ("It is a tie.\n", "tie"),
        ("TIE", "tie"), ("A or B", None), ("A is better than B.", None),
        ("A is long, B is short.\nB", "B"), ("winner=A", "A"),
        ("AB", None), ("a", None), ("", None),
        ("Answer A is better", None), ("C", None),
    ],
)  # fmt: skip
def test_the_last_word_is_the_vote(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(NoVerdictError):
            preferred(text)
    else:
        assert preferred(text) == expected


def test_the_table_has_both_kinds_of_win_rates() -> None:
    numbers = {
        "winrate": 0.625, "se": 0.04, "low": 0.5, "high": 0.7,
        "wilson_low": 0.5, "wilson_high": 0.7,
        "ties": 0.2, "differ": 0.15, "first": 0.6, "n_pairs": 80, "n_unread": 1,
        "value": "long", "reward_winrate": 0.7, "reward_se": 0.05, "n_decided": 60,
        "agreement": 0.75, "agreement_low": 0.63, "agreement_high": 0.84,
        "kappa": 0.41, "kappa_low": 0.2, "kappa_high": 0.6,
    }  # fmt: skip
    other = numbers | {"value": "short", "n_decided": 0} | dict.fromkeys(
        ("agreement", "agreement_low", "agreement_high", "kappa", "kappa_low", "kappa_high"),
        math.nan,
    )  # fmt: skip
    made = judge_table({"rloo/x": pd.DataFrame([numbers, other])}, {"long": "Long", "short": "S"})
    assert made.head == [
        "Family", "Policy", "Judge", "Orders differ", "Shown first", "Pairs", "Long", "S",
    ]  # fmt: skip
    assert list(made.rows[0]) == [
        "rloo", "x", "62.5 ± 4.0", "15.0", "60.0", "80",
        "70.0 ± 5.0 | 75 (63 to 84) of 60, κ 0.41 (0.20 to 0.60)", "70.0 ± 5.0 | –",
    ]  # fmt: skip
    assert made.numbers["long_kappa"].tolist() == [0.41]
    assert made.numbers["short_n_decided"].tolist() == [0]


def test_votes_and_table_go_through_their_jobs(server: StandIn, judge: Any, tmp_path: Path) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    from polyalign.report.registry import TABLES
    from polyalign.runtime.job import Job

    def script(name: str) -> Any:
        path = Path(__file__).parents[3] / f"workflow/scripts/{name}.py"
        found = spec_from_file_location(f"script_{name}", path)
        assert found is not None
        assert found.loader is not None
        module = module_from_spec(found)
        found.loader.exec_module(module)
        return module.main

    files = {name: tmp_path / f"{name}.parquet" for name in ("ours", "theirs")}
    record = {"spec": {"sampling": {}, "values": {}}}
    write_table(OURS, files["ours"], record)
    write_table(THEIRS, files["theirs"], record)
    inputs = {"rewards": [files["ours"]], "opponent": [files["theirs"]]}
    outputs = {"votes": tmp_path / "votes.jsonl"}
    script("judge")(
        Job({}, inputs, outputs, None),
        judge=json.loads(judge(prompts=3).model_dump_json()),
        policy="rloo/x",
        opponent="base/base",
        seed=3,
    )
    assert len(read_votes(outputs["votes"])) == 6
    kinds = {f"judge_{kind}": tmp_path / f"judge.{kind}" for kind in TABLES["judge"].kinds}
    script("judged")(
        Job({}, {**inputs, "votes": [outputs["votes"]]}, kinds, None),
        title="t",
        caption="c",
        policies=["rloo/x"],
        labels=[("long", "Long")],
        prompts=3,
        bootstrap=20,
        seed=0,
    )
    (row,) = read_table(tmp_path / "judge.csv").to_dict("records")
    assert row["n_pairs"] == 3
    assert "of" in (tmp_path / "judge.md").read_text(encoding="utf-8")
