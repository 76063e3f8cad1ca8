"""What judges will be asked, and its price, before anyone pays."""

from pathlib import Path

import pytest

from polyalign.cli import check
from polyalign.plan.bills import bills
from polyalign.plan.doubts import doubts
from polyalign.plan.forecast import Planned
from polyalign.plan.machine import REFERENCE, Machine
from polyalign.study import Study, load

JUDGE = """
  polite:
    kind: judge
    endpoint: https://example.com/v1
    key_env: JUDGE_KEY
    model: judge-1
    rubric: "1234{prompt}1234{response}"
    low: 0
    high: 10
    max_tokens: 40
    max_calls: 20000
    price: {question: 2.0, answer: 10.0}
"""


@pytest.fixture
def judged(text: str) -> str:
    """The small study with a judge, whose value the policies weigh."""
    text = text.replace("\nvalues:\n", f"\nvalues:{JUDGE}", 1)
    return text.replace("diversity: mean", "polite: mean")


def annotate(variant: str, value: str = "polite", family: str = "base", shards: int = 2) -> Planned:
    at = {"family": family, "variant": variant, "value": value, "i": "0", "n": str(shards)}
    return Planned("annotate", at)


def study_of(text: str, write) -> Study:
    study = load(write(text))
    assert study.prompts.limit is None
    return study


def test_texts_of_all_jobs_are_counted(judged: str, write) -> None:
    study = study_of(judged, write)
    prompts, sampling = 1000, study.sampling
    pool = prompts * sampling.candidates / sampling.shards
    test = prompts * study.prompts.test_share * sampling.evaluation_candidates
    (none,) = bills(study, [annotate("pool", "humor")])
    assert none.calls == 0
    (bill,) = bills(study, [annotate("pool"), annotate("base"), annotate("base", "humor")])
    assert bill.calls == pytest.approx(pool + test)
    # Two times 1234 of the rubric, a prompt, and three quarters of the longest answer.
    lengths = [len(f"Is it {number}?") for number in range(1000)]
    tokens = 2 + sum(lengths) / 4000 + 0.75 * sampling.max_new_tokens
    assert bill.question == pytest.approx(tokens)
    assert bill.cost == pytest.approx(bill.calls * (2 * tokens + 10 * 40) / 1e6)
    assert f"at most {bill.cost:,.2f}" in bill.said()


def test_training_and_guidance_ask_a_judge_too(judged: str, write) -> None:
    guided = "token-d:\n        palettes: [funny]\n        interval: 2\n        top_k: 5"
    study = study_of(judged.replace("soup:", guided.replace("    ", "  ") + "\n  soup:"), write)
    policy = study.all_policies["rloo/funny"]
    rows = 1000 * study.prompts.test_share * study.sampling.evaluation_candidates
    guidance = Planned("generate_token_d", {"variant": "funny", "i": "0", "n": "1"})
    (steered,) = bills(study, [guidance])
    assert steered.calls == rows * study.sampling.max_new_tokens / 2 * 5
    (trained,) = bills(study, [Planned("train_rloo", {"variant": "funny"})])
    assert trained.calls == policy.settings["steps"] * policy.settings["batch_size"]
    assert "polite" in study.weighed(policy)


def test_training_with_random_lambda_asks_a_judge_too(judged: str, write) -> None:
    drawn = "  rloo:\n    morl: {count: 2, values: [polite, humor]}\n"
    study = study_of(judged.replace("  rloo:\n", drawn), write)
    settings = study.all_policies["rloo/draw-1"].settings
    (trained,) = bills(study, [Planned("train_rloo", {"variant": "draw-1"})])
    assert trained.calls == settings["steps"] * settings["batch_size"] > 0


def test_pairs_are_asked_in_both_orders(judged: str, write) -> None:
    judge = "endpoint: http://a/v1, model: m, prompts: 30, rubric: '{first}{second}'"
    text = f"{judged}evaluation:\n  judge: {{{judge}}}\n"
    study = study_of(text, write)
    jobs = [Planned("judge", {"family": "rloo", "variant": name}) for name in ("a", "b")]
    _, bill = bills(study, jobs)
    assert (bill.key, bill.calls) == ("evaluation.judge", 2 * 2 * 30)
    few = study.prompts.model_copy(update={"test_share": 0.01})
    _, bill = bills(study.model_copy(update={"prompts": few}), jobs)
    assert bill.calls == 2 * 2 * 10
    assert bill.question == 2 * 0.75 * study.sampling.max_new_tokens


def test_more_calls_than_are_allowed_are_said(judged: str, write, tmp_path: Path) -> None:
    study = study_of(judged, write)
    jobs = [annotate("base")]
    (bill,) = bills(study, jobs)
    assert bill.calls < 20_000
    assert bill.warnings() == []
    folder = tmp_path / "results/small/calls/values/polite"
    folder.mkdir(parents=True)
    (folder / "calls").write_bytes(b"." * (20_000 - int(bill.calls)))
    (bill,) = bills(study, jobs)
    assert bill.warnings() == []
    (folder / "calls").write_bytes(b"." * (20_001 - int(bill.calls)))
    (bill,) = bills(study, jobs)
    (warning,) = bill.warnings()
    assert warning.startswith("values.polite.max_calls allows 20,000 calls, of which ")


def test_a_missing_key_is_said_and_never_shown(
    judged: str, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    study = study_of(judged, write)
    (found,) = [one for one in doubts(study) if "JUDGE_KEY" in one]
    assert found.startswith("values.polite: the environment variable JUDGE_KEY is not set here")
    monkeypatch.setenv("JUDGE_KEY", "sk-1")
    assert not [one for one in doubts(study) if "JUDGE_KEY" in one or "sk-1" in one]


def test_check_prints_the_bill(judged: str, write, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(2, *REFERENCE, memory_mb=16_000)
    monkeypatch.setattr(check, "jobs_to_run", lambda config: [annotate("pool")])
    monkeypatch.setattr(check, "this_machine", lambda: machine)
    text = judged.replace("  dpo:\n", "  dpo:\n    pairs: 900\n").replace("20000", "7")
    assert check.main(["--config", write(text)]) == 0
    printed = capsys.readouterr().out
    assert "values.polite: at most 8,000 calls of judge-1" in printed
    assert "warning: values.polite.max_calls allows 7 calls, of which 0 are made" in printed
