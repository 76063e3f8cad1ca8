"""The value model: for any λ it leads to p_λ, at 0 it is p0, runs repeat and resume."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
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
from trainers import run_in

from polyalign.families.value_d import ValueTraining
from polyalign.models.load import load_causal_lm
from polyalign.models.value_model import load_value_model
from polyalign.train.value import train_values

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
    return train_values(
        {"source": str(base), "revision": None}, rows, VALUES, ValueTraining(**told),
        run_in(folder, log_every=log_every), folder / "model", template=TEMPLATE,
        sampling=SAMPLING,
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
    record = train(base, folder, rows)
    assert record["exact_target"]
    (folder / "calibration.csv").write_text(pd.DataFrame(record["calibration"]).to_csv(index=False))
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


def test_the_optimum_of_another_lambda_is_missed(base, trained, tmp_path):
    """The bar would show a λ of half or twice the size, and one that lacks a value."""
    reached = tilted(base, trained, LAM, tmp_path / "m")
    for wrong in (
        {name: weight / 2 for name, weight in LAM.items()},
        {name: weight * 2 for name, weight in LAM.items()},
        {"sweet": LAM["sweet"]},
    ):
        assert divergence(reached, goal(base, wrong)) > 0.1
