"""A dollar sign in a label is a dollar sign: no figure reads mathematics into it."""

from pathlib import Path

import pytest

from polyalign.plots import theme


@pytest.mark.parametrize("label", [r"$\foo$", "5 $ to 6 $", "a_b^c {d} \\ %", "<b>&amp;"])
def test_a_label_is_drawn_letter_by_letter(label: str, tmp_path: Path) -> None:
    paths = [tmp_path / "figure.pdf", tmp_path / "figure.png"]
    with theme.sheet(paths, 1, 1, width=2, height=2) as (_, panels):
        title = panels[0, 0].set_title(label)
        panels[0, 0].plot([1e6, 2e6], [1e-7, 2e-7])
    assert title.get_text() == label
    assert not title.get_parse_math()
    assert all(path.stat().st_size > 0 for path in paths)
