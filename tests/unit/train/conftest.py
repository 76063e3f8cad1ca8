"""What tests of trainers share: one thread, and the base model of the enumerable problem."""

from pathlib import Path

import pytest
import torch
from enumerable import save_base


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))
