"""Stored pictures of all figures, small; `python baselines.py NAME …` renews them.

Look at each figure before you commit a new picture of it.
"""

import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent / "baseline"
SCALE = 6  # 300 dpi to 50
TOLERANCE = 2.0  # root mean square of 255 levels a colour; a lost point of a policy makes 3 to 4


def small(path: Path) -> Image.Image:
    """A figure's PNG in colour at 50 dpi."""
    with Image.open(path) as picture:
        flat = Image.new("RGB", picture.size, "white")
        flat.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    size = (round(flat.width / SCALE), round(flat.height / SCALE))
    return flat.resize(size, Image.Resampling.BOX)


def distance(one: Image.Image, other: Image.Image) -> float:
    """Root mean square difference of two pictures of one size."""
    ours, theirs = (np.asarray(picture, dtype=np.float64) for picture in (one, other))
    return float(np.sqrt(np.mean((ours - theirs) ** 2)))


if __name__ == "__main__":
    import figure_study
    from test_figures import FIGURES

    data = figure_study.figure_data()
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        for name in sys.argv[1:] or FIGURES:
            picture = Path(folder) / f"{name}.png"
            import_module(f"polyalign.plots.figures.{name}").draw(data, [picture])
            small(picture).save(FOLDER / f"{name}.png", optimize=True)
