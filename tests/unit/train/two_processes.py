"""Run in two processes: every trainer on the enumerable problem."""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from enumerable import LAM, LENGTH, PROMPTS, REWARDS, SAMPLING, TEMPLATE

from polyalign.runtime.files import write_json
from polyalign.runtime.job import is_main_process
from polyalign.train import common
from polyalign.train.common import Lora, Training
from polyalign.train.dpo import train_dpo
from polyalign.train.ppo import Ppo, train_ppo
from polyalign.train.reward import train_reward
from polyalign.train.rloo import train_rloo

DPO = Training(learning_rate=3e-3, batch_size=16, log_every=1)
PPO = Training(learning_rate=3e-3, batch_size=128, log_every=60)
RLOO = Training(learning_rate=3e-3, batch_size=256, log_every=50)


def dpo(base: str, pairs: pd.DataFrame, folder: Path, training: Training = DPO) -> dict:
    return train_dpo(
        base, pairs, folder / "model", work=folder / "work", template=TEMPLATE, beta=1.0,
        training=training, max_new_tokens=LENGTH,
    )  # fmt: skip


def adapters(base: str, pairs: pd.DataFrame, folder: Path) -> dict:
    return dpo(base, pairs, folder, replace(DPO, learning_rate=1e-2, lora=Lora(rank=2, alpha=8)))


def resumed(base: str, pairs: pd.DataFrame, folder: Path) -> dict:
    """DPO, killed after a checkpoint and called again."""
    training = replace(DPO, save_every=3)
    log = common.MetricsWriter.on_log

    def dies(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        log(self, args, state, control, **kwargs)
        if state.global_step == 5:
            raise KilledError

    common.MetricsWriter.on_log = dies
    try:
        dpo(base, pairs, folder, training)
    except KilledError:
        common.MetricsWriter.on_log = log
    return dpo(base, pairs, folder, training)


class KilledError(Exception):
    pass


def reward(base: str, pairs: pd.DataFrame, folder: Path) -> dict:
    return train_reward(
        base, pairs, pairs[:32], folder / "model", work=folder / "work", template=TEMPLATE,
        training=DPO, epochs=2,
    )  # fmt: skip


ALIKE = {"dpo": dpo, "adapters": adapters, "resumed": resumed, "reward": reward}


def main(base: str, folder: Path) -> None:
    shared = {"template": TEMPLATE, "sampling": SAMPLING}
    pairs = pd.read_parquet(folder / "pairs.parquet")
    records = {name: trains(base, pairs, folder / name) for name, trains in ALIKE.items()}
    records["ppo"] = train_ppo(
        base, PROMPTS, REWARDS, LAM, folder / "ppo/model", work=folder / "ppo/work", steps=240,
        training=PPO, ppo=Ppo(), **shared,
    )  # fmt: skip
    records["rloo"] = train_rloo(
        base, PROMPTS, REWARDS, LAM, folder / "rloo/model", work=folder / "rloo/work", steps=100,
        training=RLOO, generations=32, **shared,
    )  # fmt: skip
    if is_main_process():
        write_json(folder / "records.json", records)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]))
