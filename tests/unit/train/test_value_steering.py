"""λ of value-d moves until the policy realises its palette, on the enumerable problem."""

import numpy as np
import pytest
from enumerable import LAM, PROMPTS, REWARDS, SAMPLING, TEMPLATE, distribution, reward_table
from steered import NAMES, base_sd, exact_aim, levels

from polyalign.errors import InputError
from polyalign.families.value_d import ROUNDS
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.models.value_model import ValueModel
from polyalign.sampling import steering
from polyalign.sampling.steering import Drawn, steered
from polyalign.train.closed_loop import LEVELS_MET, STEPS_USED

WEAK = 0.8
"""What a value model that has not learnt all makes of λ."""


def palette(base: np.ndarray, factor: float) -> dict:
    """As `solve` writes it, with a λ that is wrong by a factor."""
    aim = exact_aim(base, factor)
    return {
        "palette": "sweet-and-apt",
        "values": aim.values,
        "target": aim.target.tolist(),
        "lam_train": aim.start.tolist(),
        "level_se_train": ((aim.high - aim.target) / 1.96).tolist(),
        "curvature_train": aim.curvature.tolist(),
    }


def policy_at(base: np.ndarray, lam: dict[str, float]) -> np.ndarray:
    """What the exact soft values sample from, (2, n)."""
    tilted = base * np.exp(reward_table() @ np.array([lam[name] for name in NAMES]))
    return tilted / tilted.sum(axis=1, keepdims=True)


def exact(base: np.ndarray, strength: float, asked: list | None = None) -> steering.Measure:
    """A measure without noise, of heads that make `strength` times λ of it."""

    def measure(lam, number):
        if asked is not None:
            asked.append((number, dict(lam)))
        told = {name: strength * weight for name, weight in lam.items()}
        return dict(zip(NAMES, levels(policy_at(base, told)).tolist(), strict=True))

    return measure


@pytest.mark.parametrize(
    ("factor", "strength", "most"), [(0.5, 1.0, 0.02), (1.5, 1.0, 0.02), (0.7, WEAK, 0.03)]
)
def test_the_policy_realises_the_palette(base, factor, strength, most):
    """Exact heads end at the λ of the palette, weak ones at one that is as much larger."""
    start, asked = distribution(base), []
    told = palette(start, factor)
    found = steered(told, exact(start, strength, asked))
    realised = levels(policy_at(start, {n: strength * one for n, one in found["lam"].items()}))
    miss = np.abs(realised - told["target"]) / base_sd(start)
    print(f"{factor} × λ, heads {strength}: {miss.max():.4f} sd, {found['lam']}")
    assert miss.max() <= most
    assert [found["lam"][name] * strength / LAM[name] for name in NAMES] == pytest.approx(
        [1, 1], abs=0.03
    )
    assert [number for number, _ in asked] == list(range(ROUNDS))
    assert [one["lam"] for one in found["rounds"]] == [lam for _, lam in asked]
    assert asked[0][1] == dict(zip(NAMES, told["lam_train"], strict=True))
    ended = found["closed_loop"]
    assert ended["lam"] == found["lam"]
    assert ended["stopped"] in (LEVELS_MET, STEPS_USED)
    assert found["palette"] == "sweet-and-apt"


def test_a_palette_that_the_base_model_meets_needs_no_answers(base):
    told = palette(distribution(base), 0.0)
    found = steered(told, lambda lam, number: pytest.fail("answers are drawn"))
    assert (found["lam"], found["rounds"], found["closed_loop"]) == (
        dict.fromkeys(NAMES, 0.0),
        [],
        {},
    )


def drawn(base, prompts, **changes) -> Drawn:
    """A measure with a value model whose changes are random, and not small."""
    model, tokenizer = load_causal_lm(str(base)), load_tokenizer(str(base))
    learnt = ValueModel(model, NAMES, [1.0, 0.5], rank=2, seed=0)
    for up in learnt.up:
        up.data.normal_(std=0.3)
    told = {"policy": "value-d/x", "template": TEMPLATE, "sampling": SAMPLING, "batch_size": 64,
            "seed": 1, **changes}  # fmt: skip
    return Drawn(learnt, model, tokenizer, rewards(), prompts, **told)


def rewards() -> dict:
    return {name: REWARDS[name] for name in NAMES}


def test_levels_are_those_of_the_policy_at_lambda(base, tmp_path, monkeypatch):
    """Over 4,000 answers, against the chain rule; λ = 0 is the base model."""
    monkeypatch.setattr(steering, "ANSWERS", 4000)
    measure = drawn(base, PROMPTS * 2000, batch_size=1000)
    for lam in ({"sweet": 1.0, "apt": 0.5}, {"sweet": 0.0, "apt": 0.0}):
        measure.learnt.merged(measure.model, lam).save_pretrained(tmp_path / "m")
        policy = distribution(tmp_path / "m")
        found = measure(lam, 0)
        sd = base_sd(policy)
        miss = np.array([found[name] for name in NAMES]) - levels(policy)
        assert (np.abs(miss) <= 4 * sd / 4000**0.5).all()


def test_rounds_differ_and_repeat(base, monkeypatch):
    monkeypatch.setattr(steering, "ANSWERS", 40)
    lam = {"sweet": 1.0, "apt": 0.5}
    read: list[list[str]] = []

    def noted(prompts, responses):
        read.append(responses)
        return REWARDS["sweet"](prompts, responses)

    first = drawn(base, PROMPTS * 30)
    first.rewards = {"sweet": noted}
    for number in (0, 1, 0):
        first(lam, number)
    assert [len(texts) for texts in read] == [40, 40, 40]
    assert read[0] == read[2]
    assert read[0] != read[1]
    other = drawn(base, PROMPTS * 30, seed=2)
    other.rewards = {"sweet": noted}
    other(lam, 0)
    assert read[3] != read[0]


def test_rounds_go_through_all_prompts(base, monkeypatch):
    """Two rounds of half the prompts are one pass: each is asked once."""
    prompts = PROMPTS * 30
    monkeypatch.setattr(steering, "ANSWERS", len(prompts) // 2)
    asked: list[str] = []

    def noted(prompts, responses):
        asked.extend(prompts)
        return REWARDS["sweet"](prompts, responses)

    measure = drawn(base, prompts)
    measure.rewards = {"sweet": noted}
    for number in (0, 1):
        measure({"sweet": 1.0, "apt": 0.5}, number)
    assert sorted(asked) == sorted(prompts)


def test_without_prompts_it_says_so(base):
    with pytest.raises(InputError, match=r"no prompts to move λ on.*policies\.value-d\.adapt"):
        drawn(base, [])


def test_a_reward_that_is_no_number_is_refused(base):
    measure = drawn(base, PROMPTS)
    measure.rewards = {"sweet": lambda prompts, responses: np.full(len(prompts), np.nan)}
    with pytest.raises(InputError, match="value 'sweet' is nan"):
        measure({"sweet": 1.0, "apt": 0.5}, 0)
