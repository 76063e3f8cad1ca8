"""Run in two processes: every trainer on the enumerable problem."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import trainers
from enumerable import LENGTH, TEMPLATE
from trainers import told

from polyalign.families.dpo import Dpo
from polyalign.families.options import RewardTraining
from polyalign.runtime.files import write_json
from polyalign.runtime.job import is_main_process
from polyalign.train import common
from polyalign.train.dpo import train_dpo
from polyalign.train.reward import train_reward

OPTIONS = {"learning_rate": 3e-3, "batch_size": 16}


def dpo(base: str, pairs: pd.DataFrame, folder: Path, **changes: Any) -> dict[str, Any]:
    section, run, _ = told(Dpo, folder, **{**OPTIONS, **changes})
    return train_dpo(
        base, pairs, section, run, folder / "model", template=TEMPLATE, beta=1.0,
        max_new_tokens=LENGTH,
    )  # fmt: skip


def adapters(base: str, pairs: pd.DataFrame, folder: Path) -> dict[str, Any]:
    return dpo(base, pairs, folder, learning_rate=1e-2, lora={"rank": 2, "alpha": 8})


def resumed(base: str, pairs: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """DPO, killed after a checkpoint and called again."""
    log = common.MetricsWriter.on_log

    def dies(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        log(self, args, state, control, **kwargs)
        if state.global_step == 5:
            raise KilledError

    common.MetricsWriter.on_log = dies
    try:
        dpo(base, pairs, folder, save_every=3)
    except KilledError:
        common.MetricsWriter.on_log = log
    return dpo(base, pairs, folder, save_every=3)


class KilledError(Exception):
    pass


def reward(base: str, pairs: pd.DataFrame, folder: Path) -> dict[str, Any]:
    section, run, _ = told(RewardTraining, folder, epochs=2, **OPTIONS)
    return train_reward(base, pairs, pairs[:32], section, run, folder / "model", template=TEMPLATE)


ALIKE = {"dpo": dpo, "adapters": adapters, "resumed": resumed, "reward": reward}


def main(base: str, folder: Path) -> None:
    pairs = pd.read_parquet(folder / "pairs.parquet")
    records = {name: trains(base, pairs, folder / name) for name, trains in ALIKE.items()}
    for name in ("ppo", "rloo"):
        settings = trainers.ALGORITHMS[name][3]
        records[name] = trainers.train(name, Path(base), folder / name, **settings)
    if is_main_process():
        write_json(folder / "records.json", records)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]))
