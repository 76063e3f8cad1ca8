"""The tiny study of `answerdata`, which is the working folder of the tests of this folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from answerdata import make_study

from polyalign.answer.answers import Answerer
from polyalign.answer.ways import enter_study
from polyalign.study import Study


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds `results`; one, since Python imports a reward of a name once."""
    folder = tmp_path_factory.mktemp("answer")
    make_study(folder)
    return folder


@pytest.fixture(scope="module")
def here(root: Path) -> Iterator[Path]:
    """The same folder, as the working folder of the tests of a module."""
    before = Path.cwd()
    os.chdir(root)
    yield root
    os.chdir(before)


@pytest.fixture(scope="module")
def study(here: Path) -> Study:
    return enter_study("results/tiny")


@pytest.fixture(scope="module")
def answerer(study: Study) -> Answerer:
    return Answerer(study)
