"""The pictures of the idea show what the library computes."""

from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image

from polyalign.map.dual import solve


@pytest.fixture(scope="module")
def example() -> pictures.Example:
    return pictures.Example()


def test_the_dual_is_highest_at_the_solution(example: pictures.Example) -> None:
    lams = np.linspace(0, 8, 801)
    found = pictures.dual(example, float(example.target[0]), lams)
    alone = solve(example.rewards[:, :1], example.target[:1], groups=example.groups)
    assert lams[found.argmax()] == pytest.approx(alone.lam[0], abs=0.01)
    assert found.max() == pytest.approx(alone.kl, abs=1e-4)
    assert found[0] == 0


def test_the_choice_is_a_softmax(example: pictures.Example) -> None:
    size, weights = pictures.one_prompt(example)
    assert len(size) == 16
    assert weights == pytest.approx(np.exp(size) / np.exp(size).sum())


def test_the_regions_lie_within_each_other(example: pictures.Example) -> None:
    """And what is just outside, or just inside, is judged so by the solver."""
    supported, feasible = pictures.region(example)
    assert (np.linalg.norm(supported, axis=1) <= np.linalg.norm(feasible, axis=1) + 1e-9).all()
    for ends, inside, outside in (
        (supported, "supported", "unsupported"),
        (feasible, "unsupported", "infeasible"),
    ):
        way = ends[len(ends) // 2]
        for share, verdict in ((0.99, inside), (1.01, outside)):
            target = example.base.center + share * way * example.base.scale
            found = solve(example.rewards, target, groups=example.groups).verdict
            assert found == verdict


def test_the_stored_pictures_are_those_that_are_drawn(tmp_path: Path) -> None:
    """After a change that you want: `python tools/pictures.py`."""
    pictures.main(tmp_path)
    drawn = sorted(path.name for path in tmp_path.iterdir())
    stored = pictures.ROOT / "docs/figures/idea"
    assert drawn == sorted(path.name for path in stored.iterdir())
    for name in drawn:
        both = [np.asarray(Image.open(at / name).convert("L"), float) for at in (tmp_path, stored)]
        assert both[0].shape == both[1].shape
        assert np.abs(both[0] - both[1]).mean() < 1, name
