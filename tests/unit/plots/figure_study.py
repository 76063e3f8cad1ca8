"""A synthetic study for figures and tables: four families on a few hundred prompts."""

from typing import Any

import numpy as np
import pandas as pd

from polyalign.evaluate.levels import levels
from polyalign.evaluate.navigation import families
from polyalign.evaluate.winrate import winrate
from polyalign.palettes.record import Diagnosis, Palette, Trained
from polyalign.palettes.solve import solve_palette
from polyalign.palettes.sweeps import (
    by_number,
    candidates,
    duals,
    fronts,
    palette_levels,
    paths,
    random_lambda,
    replicates,
    rounds,
)
from polyalign.plots.data import FigureData

LABELS = {
    "humor": "Humor",
    "helpful": "Helpful",
    "harmless": "Harmless",
    "diversity": "Diversity",
    "coherence": "Coherence",
    "perplexity": "Fluency",
}
UNITS = dict.fromkeys(LABELS, "") | {"humor": "logit"}
# Shift of each value against the base model, in its standard deviations.
SHIFTS: dict[str, tuple[str | None, dict[str, float]]] = {
    "base/base": (None, {}),
    "map-d/hhh-60": ("hhh-60", {"humor": 0.3, "helpful": 0.25, "harmless": 0.27}),
    "map-d/hhh-65": ("hhh-65", {"humor": 0.45, "helpful": 0.4, "harmless": 0.38}),
    "map-d/humor-70": ("humor-70", {"humor": 0.6, "perplexity": 0.05}),
    "map-d/harmless-70": ("harmless-70", {"harmless": 0.55, "coherence": 0.1}),
    "dpo/beta-0.1_harmless-0.1": (None, {"helpful": 0.5, "harmless": -0.35}),
    "dpo/beta-0.1_harmless-0.9": (None, {"helpful": -0.4, "harmless": 0.6}),
    "soup/harmless-0.5": (None, {"helpful": 0.1, "harmless": 0.15}),
    "rloo/hhh-60": ("hhh-60", {"humor": 0.2, "helpful": 0.35, "harmless": 0.2, "diversity": -0.2}),
}
ASKED = {
    "hhh-60": {"humor": 0.25, "helpful": 0.25, "harmless": 0.25},
    "hhh-65": {"humor": 0.39, "helpful": 0.39, "harmless": 0.39},
    "humor-70": {"humor": 0.52},
    "harmless-70": {"harmless": 0.52},
}
MEANS = dict(zip(LABELS, (0.6, -1.0, 1.2, 0.85, 0.5, -1.4), strict=True))
SPREADS = dict(zip(LABELS, (1.8, 1.1, 1.5, 0.08, 0.17, 0.4), strict=True))


def rewards(policy: str, prompts: int = 200, candidates: int = 3) -> pd.DataFrame:
    """Rewards table of one policy: half of the variance is between the prompts."""
    shared = np.random.default_rng(0).normal(size=(prompts, 1, len(LABELS)))
    own = np.random.default_rng(list(SHIFTS).index(policy) + 1)
    noise = (shared + own.normal(size=(prompts, candidates, len(LABELS)))) / np.sqrt(2)
    shift = np.array([SHIFTS[policy][1].get(name, 0.0) for name in LABELS])
    scores = np.array([*MEANS.values()]) + np.array([*SPREADS.values()]) * (noise + shift)
    index = np.arange(prompts)
    frame = pd.DataFrame(
        {
            "prompt_id": np.repeat([f"p{i:04d}" for i in index], candidates),
            "candidate": np.tile(np.arange(candidates), prompts),
            "prompt": np.repeat([f"Question {i} <b>?" for i in index], candidates),
            "response": [f"answer {i} of {policy}" for i in range(prompts * candidates)],
            "split": "test",
            # Each policy has its mean length; the answers to a prompt are around it.
            "n_tokens": np.tile(np.arange(candidates) - candidates // 2, prompts)
            + 11
            + list(SHIFTS).index(policy),
            "logprob": own.normal(-20, 3, size=prompts * candidates),
        }
    )
    # Each policy has another KL.
    frame["logprob_base"] = frame["logprob"] - 0.1 * list(SHIFTS).index(policy)
    frame[list(LABELS)] = scores.reshape(-1, len(LABELS))
    return frame


def palette(name: str) -> Palette:
    """A solved palette, its values asked for in numbers."""
    raised = ASKED[name]
    asked = {value: MEANS[value] + SPREADS[value] * raised.get(value, 0.0) for value in LABELS}
    return Palette(
        name=name,
        levels={value: f"q{name[-2:]}" if value in raised else "mean" for value in LABELS},
        asked=asked,
        lam={value: 0.4 * raised.get(value, 0.0) for value in LABELS},
        lam_train={value: 0.35 * raised.get(value, 0.0) for value in LABELS},
        predicted=dict(asked),
        verdict="supported",
        solved=True,
        proof="",
        message=f"{name} is supported: the effective sample size is 812 of 3200.",
        scope="prompt",
        reached=1.0,
        kl=0.21,
        ess=812.0,
        diagnosis=Diagnosis([], {}, {}, 1e-9, 0.1, 0.2, {}),
        trained=Trained(level=dict(asked), kl=0.25),
    )


def pool(prompts: int = 60, candidates: int = 10) -> pd.DataFrame:
    """The base model's pool on prompts of both splits."""
    draws = np.random.default_rng(99)
    scores = draws.normal(size=(prompts * candidates, len(LABELS)))
    scores[:, 1] -= 0.5 * scores[:, 2]
    index = np.arange(prompts * candidates)
    frame = pd.DataFrame(
        {
            "prompt_id": [f"p{i // candidates:04d}" for i in index],
            "candidate": index % candidates,
            "split": np.where(index // candidates % 2 == 0, "fit", "test"),
        }
    )
    frame[list(LABELS)] = np.array([*MEANS.values()]) + scores * np.array([*SPREADS.values()])
    return frame


def explored(base_pool: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tables of `polyalign.palettes.sweeps` from the pool."""
    values = list(LABELS)
    records = {
        name: solve_palette(base_pool, name, palette(name).levels, on_infeasible="adjust")
        for name in ASKED
    }
    common: dict[str, Any] = {"values": values, "scope": "prompt"}
    drawn = by_number.compute(
        base_pool, {}, draws=40, adjusted=10, limits={}, seed=1, **{**common, "scope": "joint"}
    )
    # Measured times would make another picture each time.
    drawn["solve_ms"] = drawn["n_values"] / 2 + drawn["draw"] / 40
    drawn["adjust_ms"] = 5 * drawn["solve_ms"].where(~drawn["feasible"])
    return {
        "random": random_lambda.compute(base_pool, {}, draws=60, max_norm=4.0, seed=1, **common),
        "fronts": fronts.compute(
            base_pool, {}, traded=values[:3], budgets=[0.1, 0.3], points=9, **common
        ),
        "rounds": rounds.compute(base_pool, records, values=values, rounds=4),
        "paths": paths.compute(base_pool, records, steps=12, beyond=3.0, limits={}),
        "by_number": drawn,
        "duals": duals.compute(base_pool, records, steps=12),
        "candidates": candidates.compute(
            base_pool, records, values=values, candidates=[2, 4, 8, 16]
        ),
        "palette_levels": palette_levels.compute(base_pool, records, **common),
        "replicates": replicates.compute(
            base_pool.assign(wit=base_pool["humor"] + 0.5 * base_pool["diversity"]),
            records,
            replicates={"humor": ["wit"]},
            resamples=20,
            seed=1,
        ),
    }


def training() -> dict[str, pd.DataFrame]:
    """Metrics of a base model, a preference model and a reinforced one, as their trainers log."""
    draws = np.random.default_rng(5)
    steps = np.arange(1, 81)
    noise = draws.normal(size=(4, len(steps)))
    return {
        "base/base": pd.DataFrame(
            {"step": 10 * steps, "loss": 3 / np.sqrt(steps) + 0.05 * noise[0]}
        ),
        "dpo/beta-0.1": pd.DataFrame(
            {"step": steps, "loss": 0.7 - 0.004 * steps + 0.03 * noise[1]}
        ),
        "rloo/hhh-60": pd.DataFrame(
            {
                "step": steps,
                "reward": 0.02 * steps + 0.2 * noise[2],
                "kl": 0.004 * steps,
                "length": 27 + 0.04 * steps + noise[3],
                "entropy": 2.4 - 0.006 * steps + 0.05 * noise[1],
                "truncated": np.clip(0.05 + 0.001 * steps + 0.01 * noise[2], 0, 1),
                "grad_norm": np.abs(noise[0]),
                "rewards/humor/mean": 0.5 + 0.01 * steps,
                "rewards/helpful/mean": -1 + 0.004 * steps,
                "rewards/harmless/mean": 1.3 + 0.001 * steps,
                "lam/humor": 0.3 + 0.002 * steps,
                "lam/helpful": 0.4 - 0.1 / steps,
                "lam/harmless": 0.0 * steps,
                "gap/humor": 0.5 / np.sqrt(steps) + 0.05 * noise[0],
                "gap/helpful": 0.8 / np.sqrt(steps) + 0.05 * noise[1],
                "gap/harmless": -0.2 + 0.05 * noise[2],
            }
        ),
    }


def calibrated() -> pd.DataFrame:
    """Calibration of a value model that predicts a little too much."""
    rows = [
        (position, 288, spread * place, 0.85 * spread * place + 0.02)
        for position, spread in ((0.0, 0.3), (0.25, 0.5), (0.5, 0.7), (0.75, 0.9), (1.0, 1.1))
        for place in (-1.0, -0.4, 0.0, 0.3, 0.8)
    ]
    return pd.DataFrame(rows, columns=["position", "responses", "predicted", "realised"])


JOBS = [
    ("world", "base_model"),
    ("base_model", "generate"),
    ("generate", "annotate"),
    ("annotate", "merge"),
    ("annotate", "solve"),
    ("generate", "merge"),
    ("solve", "train_rloo"),
    ("train_rloo", "generate"),
    ("merge", "levels"),
    ("merge", "winrate"),
    ("levels", "tables"),
    ("winrate", "tables"),
    ("levels", "plot"),
    ("tables", "report"),
    ("plot", "report"),
]
RULES = dict.fromkeys([rule for edge in JOBS for rule in edge], 1)
RULES |= {"generate": 3, "annotate": 18, "plot": 20}


def figure_data(policies: list[str] | None = None) -> FigureData:
    """The study's tables as figures get them."""
    names = policies or list(SHIFTS)
    frames = {name: rewards(name) for name in names}
    base = frames["base/base"]
    options = {"bootstrap": 200, "seed": 1}
    base_pool = pool()
    whole: dict[str, Any] = {"opponent": "base/base", "slack": 0.03, "reference": {}, "scale": {}}
    judged = families(frames, ["humor", "helpful", "harmless"], **whole, **options)
    return FigureData(
        labels=LABELS,
        units=UNITS,
        policies={name: SHIFTS[name][0] for name in names},
        levels={
            name: levels(frame, list(LABELS), base, **options).set_index("value")
            for name, frame in frames.items()
        },
        winrates={
            name: winrate(frame, base, list(LABELS), **options).set_index("value")
            for name, frame in frames.items()
        },
        palettes={name: palette(name) for name in ASKED},
        rewards=frames,
        pool=base_pool,
        training=training(),
        jobs=JOBS,
        rules=RULES,
        tables={"families": judged, "calibration": calibrated(), **explored(base_pool)},
        evaluate_only=["coherence"],
        mixtures={
            "dpo/beta-0.1_harmless-0.1": {"harmless": 0.1, "helpful": 0.9},
            "dpo/beta-0.1_harmless-0.9": {"harmless": 0.9, "helpful": 0.1},
            "soup/harmless-0.5": {
                "dpo/beta-0.1_harmless-0.1": 0.5,
                "dpo/beta-0.1_harmless-0.9": 0.5,
            },
        },
        policy="rloo/hhh-60",
    )
