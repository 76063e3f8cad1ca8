"""Shared data of the tests of the mathematics."""

import json
from pathlib import Path

import numpy as np
import pytest
from mapdata import COLUMNS

REFERENCE = Path(__file__).parents[4] / "shared/reference/llama2_chat-Anthropic-harmless.json"


@pytest.fixture(scope="session")
def reference_path() -> Path:
    if not REFERENCE.is_file():
        pytest.skip("the published table of rewards is not in ../shared/reference")
    return REFERENCE


@pytest.fixture(scope="session")
def reference(reference_path: Path) -> np.ndarray:
    records = json.loads(reference_path.read_text())
    return np.array([[record[name] for name in COLUMNS.values()] for record in records])
