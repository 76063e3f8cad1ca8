"""A study small enough for a cluster of two cores, with each kind of job of the sandbox."""

import runpy
from pathlib import Path
from typing import Any

import yaml

WORKFLOW_TESTS = Path(__file__).parents[1] / "workflow/conftest.py"
PALETTE = {"helpful": "mean+0.2sd", "diversity": "mean"}


def tiny(config: Path) -> dict[str, Any]:
    """The sandbox study of `config`, cut down: one reward model, one trained policy, one λ."""
    study = yaml.safe_load(config.read_text())
    world = f"results/{study['study']}/world/hh/helpful-base"
    study["sandbox"] |= {"dialogues": 400, "pairs": 280, "steps": 30}
    study["prompts"]["sources"] = [{"path": world, "split": "test"}]
    study["prompts"] |= {"limit": 60, "test_share": 0.5}
    study["sampling"] |= {
        "max_new_tokens": 12,
        "batch_size": 120,
        "candidates": 8,
        "evaluation_candidates": 2,
        "shards": 1,
    }
    study["values"] = {name: study["values"][name] for name in PALETTE}
    study["reward_models"] = {
        "helpful": study["reward_models"]["helpful"]
        | {"epochs": 1, "batch_size": 4, "save_every": 10}
    }
    study["preferences"] = {"helpful": {"path": world}}
    study["palettes"] = {"tiny": PALETTE, "other": PALETTE | {"helpful": "mean+0.1sd"}}
    study["map"] = {"on_infeasible": "adjust"}
    study["policies"] = {
        "map-d": {"palettes": ["tiny"]},
        "dpo": {
            "beta": [0.1],
            "mixtures": {"helpful": {"helpful": 1.0}},
            "pairs": 280,
            "learning_rate": 1.0e-4,
            "batch_size": 4,
            "save_every": 10,
        },
    }
    study["evaluation"] = {"bootstrap": 50}
    study["plots"] = ["heat_map"]
    return study


def checkout(folder: Path) -> Path:
    """A checkout of its own, with the tiny study as its config."""
    runpy.run_path(str(WORKFLOW_TESTS))["copy_checkout"](folder)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(tiny(config), sort_keys=False))
    return folder
