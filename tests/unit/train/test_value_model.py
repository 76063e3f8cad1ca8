"""The value model: for any λ it leads to p_λ, at 0 it is p0, runs repeat and resume."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from enumerable import (
    END,
    LAM,
    PROMPTS,
    SAMPLING,
    TEMPLATE,
    TOKENS,
    distribution,
    divergence,
    responses,
    reward_table,
    texts,
)
from safetensors.torch import load_file
from trainers import run_in
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from polyalign.errors import InputError
from polyalign.families.value_d import ValueTraining
from polyalign.models.load import load_causal_lm, load_tokenizer
from polyalign.models.value_model import WEIGHTS, ValueModel, load_value_model
from polyalign.sampling.valued import engine
from polyalign.train.loading import count_positions
from polyalign.train.value import (
    PART,
    Candidates,
    Strengths,
    TrainedValues,
    ValueTrainer,
    order,
    token_logprobs,
    train_values,
)
from polyalign.train.value_calibration import calibration

VALUES = list(LAM)
EACH = 40
COPIES = 24


def pool(
    base: Path, each: int = EACH, copies: int = COPIES, held_out: bool = False
) -> pd.DataFrame:
    """`copies` prompts of each kind with `each` candidates drawn from the base, with rewards."""
    table, rng, rows = distribution(base), np.random.default_rng(0), []
    for copy in range(copies):
        for place, prompt in enumerate(PROMPTS):
            drawn = rng.choice(table.shape[1], size=each, p=table[place])
            for number, choice in enumerate(drawn):
                rewards = dict(zip(VALUES, reward_table()[place, choice], strict=True))
                rows.append(
                    {"prompt_id": f"{place}-{copy}", "candidate": number, "prompt": prompt,
                     "response": texts()[choice], "split": "test" if held_out else "fit",
                     "end_token": TOKENS[END] if responses()[choice][-1] == END else "", **rewards}
                )  # fmt: skip
    return pd.DataFrame(rows)


def train(base: Path, folder: Path, rows: pd.DataFrame, log_every: int = 10, **section):
    told = {"rank": 4, "strength": 2.2, "epochs": 25, "learning_rate": 1e-2, **section}
    signs = told.pop("signs", dict.fromkeys(VALUES, 1))
    return train_values(
        {"source": str(base), "revision": None}, rows, VALUES, ValueTraining(**told),
        run_in(folder, log_every=log_every), folder / "model", template=TEMPLATE,
        sampling=SAMPLING, raised=VALUES, signs=signs,
    )  # fmt: skip


def tilted(base: Path, folder: Path, lam: dict[str, float], into: Path) -> np.ndarray:
    """The distribution (2, n) that value-d samples from at λ."""
    model = load_causal_lm(str(base))
    load_value_model(folder / "model", model).merged(model, lam).save_pretrained(into)
    return distribution(into)


def goal(base: Path, lam: dict[str, float]) -> np.ndarray:
    weights = np.array([lam.get(value, 0.0) for value in VALUES])
    found = distribution(base) * np.exp(reward_table() @ weights)
    return found / found.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("values")
    rows = pd.concat([pool(base), pool(base, copies=10, held_out=True)])
    record, table = train(base, folder, rows)
    assert record["exact_target"]
    table.to_csv(folder / "calibration.csv", index=False)
    return folder


MANY = [
    LAM, {"sweet": 1.2}, {"apt": 2.2}, {"sweet": 0.6, "apt": 1.1}, {"sweet": 2.0, "apt": 0.5}
]  # fmt: skip


@pytest.mark.parametrize("lam", MANY, ids=str)
def test_one_model_leads_to_the_optimum_of_every_lambda(base, trained, tmp_path, lam):
    nats = divergence(tilted(base, trained, lam, tmp_path / "m"), goal(base, lam))
    print(f"KL to p_λ: base {divergence(distribution(base), goal(base, lam)):.3f}, now {nats:.4f}")
    assert divergence(distribution(base), goal(base, lam)) > 2 * nats
    assert nats <= 0.1


CAPPED = [{"sweet": -1.2}, {"sweet": -1.2, "apt": 1.5}, {"apt": -2.0}, {"sweet": -0.6, "apt": -1.0}]


def test_ceilings_are_learnt_too_and_a_sign_that_was_not_is_refused(base, tmp_path):
    """A value with ceilings alone, and one with floors and ceilings: λ of these signs."""
    rows, signs = pool(base), {"sweet": -1, "apt": 0}
    record, _ = train(base, tmp_path, rows, signs=signs, epochs=8)
    assert record["settings"]["signs"] == signs
    for lam in CAPPED:
        nats = divergence(tilted(base, tmp_path, lam, tmp_path / "m"), goal(base, lam))
        print(f"{lam}: {divergence(distribution(base), goal(base, lam)):.3f}, now {nats:.4f}")
        assert divergence(distribution(base), goal(base, lam)) > 2 * nats
        assert nats <= 0.05
    turned = {"sweet": -1.2, "apt": -1.5}
    assert divergence(tilted(base, tmp_path, CAPPED[1], tmp_path / "m"), goal(base, turned)) > 0.1
    with pytest.raises(
        InputError, match=r"λ of 'sweet' is 1\.0; expected a finite number, 0 or less"
    ):
        tilted(base, tmp_path, {"sweet": 1.0}, tmp_path / "n")


def test_the_optimum_of_another_lambda_is_missed(base, trained, tmp_path):
    """The bar would show a λ of half or twice the size, and one that lacks a value."""
    reached = tilted(base, trained, LAM, tmp_path / "m")
    for wrong in (
        {name: weight / 2 for name, weight in LAM.items()},
        {name: weight * 2 for name, weight in LAM.items()},
        {"sweet": LAM["sweet"]},
    ):
        assert divergence(reached, goal(base, wrong)) > 0.1


def test_texts_of_a_batch_are_read_as_each_alone(base):
    """More than are read at once, of all lengths and in any order, each at a λ of its own."""
    model = load_causal_lm(str(base), device="cpu")
    count_positions(model)
    changes = TrainedValues(model, VALUES, [1.0, 2.0], rank=2, seed=1)
    changes.attach(model)
    rng = np.random.default_rng(2)
    for up in changes.up:
        torch.nn.init.normal_(up, std=0.3)
    asked = [[TOKENS.index(word) for word in (*prompt.split(), ":")] for prompt in PROMPTS]
    chosen = rng.choice(len(responses()), size=2 * PART + 5)
    pairs = [(asked[n % 2], list(responses()[choice])) for n, choice in enumerate(chosen)]
    u = torch.tensor(rng.random((len(pairs), len(VALUES))), dtype=torch.float32)
    with torch.no_grad():
        found = changes(model, u, END, pairs, 0.7)
        for row, pair in enumerate(pairs):
            alone = changes(model, u[[row]], END, [pair], 0.7)[0]
            torch.testing.assert_close(found[row, : len(alone)], alone, atol=1e-5, rtol=0)
            assert not found[row, len(alone) :].any()


def test_without_lambda_it_is_the_base_model(base, trained, tmp_path):
    np.testing.assert_allclose(tilted(base, trained, {}, tmp_path / "m"), distribution(base))


def test_held_out_prompts_confirm_what_is_predicted(trained):
    """Over 800 held-out responses: at each position predicted and realised means agree."""
    table = pd.read_csv(trained / "calibration.csv")
    assert set(table["position"]) == {0.0, 0.25, 0.5, 0.75, 1.0}
    slope, shift = np.polyfit(table["predicted"], table["realised"], 1)
    assert slope == pytest.approx(1, abs=0.15)
    assert shift == pytest.approx(0, abs=0.15)
    assert np.abs(table["predicted"] - table["realised"]).mean() < 0.2
    assert table["predicted"].max() - table["predicted"].min() > 1


def test_the_engine_draws_the_tilted_model(base, trained):
    """Frequencies of 4000 draws, and the log-probability of each, against the chain rule."""
    model, tokenizer = load_causal_lm(str(base)), load_tokenizer(str(base))
    palette = {"values": VALUES, "lam": [9.0, 9.0], "lam_train": list(LAM.values())}
    draws = engine(model, tokenizer, SAMPLING, palette, settings={}, value_model=trained / "model")
    encoded = tokenizer(TEMPLATE.format(prompt=PROMPTS[1]))["input_ids"]
    found = draws([PROMPTS[1]] * 4000, [encoded] * 4000, seed=3)
    expected = goal(base, LAM)[1]
    places = {ids: place for place, ids in enumerate(responses())}
    counts = np.bincount([places[tuple(one.ids)] for one in found], minlength=len(expected))
    assert 0.5 * np.abs(counts / 4000 - expected).sum() < 0.15
    for one in found[:20]:
        assert one.logprob == pytest.approx(np.log(expected[places[tuple(one.ids)]]), abs=0.6)


def test_a_policys_own_lambda_goes_before_a_palettes(base, trained):
    model, tokenizer = load_causal_lm(str(base)), load_tokenizer(str(base))
    told = {"settings": {"lam": {"apt": 2.2}}, "value_model": trained / "model"}
    own = engine(model, tokenizer, SAMPLING, {}, **told).model
    merged = load_value_model(trained / "model", model).merged(model, {"apt": 2.2})
    for one, other in zip(own.parameters(), merged.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_merged_weights_compute_what_training_does(base, kind):
    """Conv1D and Linear have their weights the other way round; each text has its own u."""
    if kind == "gpt2":
        model = AutoModelForCausalLM.from_pretrained(base).eval()
    else:
        config = LlamaConfig(
            vocab_size=7, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1,
        )  # fmt: skip
        model = LlamaForCausalLM(config).eval()
    values = ValueModel(model, ["x", "y"], [2.0, 0.5], rank=3, seed=0)
    with torch.no_grad():
        for up in values.up:
            up.copy_(torch.randn(up.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    pairs, lams = [([5, 1], [2, 3]), ([5, 6, 1], [4])], [{"x": 0.4}, {"x": 0.1, "y": 2.0}]
    alone = [
        token_logprobs(values.merged(model, lam), 0, [pair], 1.0)[0].sum()
        for pair, lam in zip(pairs, lams, strict=True)
    ]
    values.attach(model)
    count_positions(model)
    values.at(torch.stack([values.units(lam) for lam in lams]))
    together = token_logprobs(model, 0, pairs, 1.0).sum(1)
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-5)
    values.at(None)
    assert not torch.allclose(token_logprobs(model, 0, pairs, 1.0).sum(1), together, atol=1e-2)


def test_a_run_repeats_and_resumes_bit_by_bit(base, tmp_path, monkeypatch):
    rows = pool(base, copies=8, each=4)

    def weights(name: str) -> dict[str, torch.Tensor]:
        train(base, tmp_path / name, rows, log_every=1, epochs=3, save_every=1)
        return load_file(tmp_path / name / "model" / WEIGHTS)

    whole = weights("whole")
    again = weights("again")
    original, steps = ValueTrainer.training_step, []

    def dies(self, *arguments, **named):
        steps.append(self.state.global_step)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return original(self, *arguments, **named)

    monkeypatch.setattr(ValueTrainer, "training_step", dies)
    with pytest.raises(KeyboardInterrupt):
        weights("killed")
    resumed = weights("killed")
    assert steps[4] == 3
    for name, weight in whole.items():
        assert torch.equal(weight, again[name])
        assert torch.equal(weight, resumed[name])


def test_lambda_is_drawn_up_to_the_strength():
    """λ·r has within a prompt a standard deviation that is uniform up to the limit."""
    covariance = np.array([[1.0, -0.6], [-0.6, 1.0]])
    strengths = Strengths(covariance, 1.5, np.ones(2))
    drawn = np.stack([strengths.draw(1, step, 0) for step in range(2000)])
    assert (drawn >= 0).all()
    spread = np.sqrt([u @ covariance @ u for u in drawn])
    np.testing.assert_allclose(strengths.variance(drawn), spread**2)
    np.testing.assert_allclose(np.quantile(spread, [0.25, 0.5, 1]), [0.375, 0.75, 1.5], atol=0.06)
    assert ((drawn > 0).sum(axis=1) == 1).any()
    np.testing.assert_array_equal(strengths.draw(1, 5, 0), drawn[5])
    assert (strengths.draw(1, 5, 1) != drawn[5]).any()
    lesser = Strengths(covariance, 1.5, np.array([1.0, 0.1]))
    weighed = np.stack([lesser.draw(1, step, 0) for step in range(300)])
    assert np.median(weighed[:, 1]) < 0.3 * np.median(weighed[:, 0])


def test_lambda_is_drawn_with_the_signs_of_the_palettes():
    covariance = np.array([[1.0, 0.3, 0.0], [0.3, 1.0, 0.0], [0.0, 0.0, 1.0]])
    told = covariance, 1.5, np.ones(3)
    plain, signed = Strengths(*told), Strengths(*told, np.array([1, -1, 0]))
    drawn = np.array([signed.draw(1, step) for step in range(400)])
    assert (drawn[:, 0] >= 0).all()
    assert (drawn[:, 1] <= 0).all()
    assert (drawn[:, 2] > 0).mean() == pytest.approx(0.45, abs=0.08)
    assert (drawn[:, 2] < 0).mean() == pytest.approx(0.45, abs=0.08)
    spread = np.sqrt(signed.variance(drawn))
    assert spread.max() <= 1.5 + 1e-9
    assert spread.mean() == pytest.approx(0.75, abs=0.05)
    same = np.array([Strengths(*told, np.ones(3)).draw(1, step) for step in range(9)])
    np.testing.assert_array_equal(same, [plain.draw(1, step) for step in range(9)])


def test_each_pass_reads_every_prompt_once_in_batches_of_similar_lengths():
    lengths = [5, 1, 9, 2, 8, 6]
    found = order(lengths, 2, 3, seed=0)
    assert [sorted(found[at : at + 6]) for at in (0, 6, 12)] == [list(range(6))] * 3
    pairs = {tuple(sorted(found[at : at + 2])) for at in range(0, 18, 2)}
    assert pairs == {(1, 3), (0, 5), (2, 4)}
    assert found[:6] != found[6:12]
    assert len(order(lengths, 4, 1, seed=0)) == 4
    assert sorted(order(lengths, 9, 1, seed=0)) == list(range(6))


def test_candidates_are_grouped_by_prompt():
    frame = pd.DataFrame(
        {"prompt_id": ["q", "p", "q", "p"], "candidate": [0, 0, 1, 1], "good": [1.0, 2, 4, 6]}
    )
    pairs = [([place], [place]) for place in range(4)]
    found = Candidates(frame, ["good"], pairs, np.array([2.0]))
    assert found.texts(0) == [pairs[1], pairs[3]]
    np.testing.assert_allclose(found.rewards[..., 0], [[1, 3], [0.5, 2]])
    # The candidates of p differ by 2 standard deviations, those of q by 1.5.
    np.testing.assert_allclose(found.covariance(), [[(2.0 + 1.125) / 2]])
    with pytest.raises(InputError, match="candidates per prompt"):
        Candidates(frame[:3], ["good"], pairs[:3], np.array([2.0]))


def test_calibration_reads_the_same_share_of_every_response():
    grown = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([-1.0, -2.0]), np.zeros(0)]
    rows = calibration(grown, np.array([np.e**3, np.e**-2, 7.0]))
    by_position = {
        position: [row for row in rows if row["position"] == position]
        for position in (0.0, 0.5, 1.0)
    }
    assert [row["predicted"] for row in by_position[0.0]] == [-1.0, 0.0]
    assert [row["predicted"] for row in by_position[0.5]] == [-1.0, 1.0]
    assert [row["predicted"] for row in by_position[1.0]] == pytest.approx([-2.0, 3.0])
    assert [row["realised"] for row in by_position[1.0]] == pytest.approx([-2.0, 3.0])


def test_what_does_not_fit_is_refused(base, trained, tmp_path):
    model = load_causal_lm(str(base))
    values = load_value_model(trained / "model", model)
    with pytest.raises(InputError, match="'kind', which"):
        values.merged(model, {"kind": 1.0})
    with pytest.raises(InputError, match="'apt' is"):
        values.merged(model, {"apt": -1.0})
    other = LlamaForCausalLM(
        LlamaConfig(vocab_size=7, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                    num_attention_heads=2)
    )  # fmt: skip
    with pytest.raises(InputError, match="another base model"):
        load_value_model(trained / "model", other)
    with pytest.raises(InputError, match="cannot be read"):
        load_value_model(tmp_path, model)
