"""Run in two processes: DPO, PPO and RLOO on the enumerable problem."""

import sys
from pathlib import Path

import pandas as pd
import torch
from enumerable import LAM, LENGTH, PROMPTS, REWARDS, SAMPLING, TEMPLATE

from polyalign.files import write_json
from polyalign.job import is_main_process
from polyalign.train.common import Training
from polyalign.train.dpo import train_dpo
from polyalign.train.ppo import Ppo, train_ppo
from polyalign.train.rloo import train_rloo

DPO = Training(learning_rate=3e-3, batch_size=16, log_every=1)
PPO = Training(learning_rate=3e-3, batch_size=128, log_every=60)
RLOO = Training(learning_rate=3e-3, batch_size=256, log_every=50)


def dpo(base: str, pairs: pd.DataFrame, folder: Path) -> dict:
    return train_dpo(
        base, pairs, folder / "model", work=folder / "work", template=TEMPLATE, beta=1.0,
        training=DPO, max_new_tokens=LENGTH,
    )  # fmt: skip


def main(base: str, folder: Path) -> None:
    shared = {"template": TEMPLATE, "sampling": SAMPLING}
    records = {"dpo": dpo(base, pd.read_parquet(folder / "pairs.parquet"), folder / "dpo")}
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
