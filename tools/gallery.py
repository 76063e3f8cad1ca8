"""Writes docs/figures.md and its thumbnails: `python tools/gallery.py results/sandbox/plots`.

The folder holds the figures of a finished study. A figure that is not there keeps its thumbnail;
one that never was there has none.
"""

import sys
from pathlib import Path

from PIL import Image

from polyalign import plots
from polyalign.runtime.files import write_text

ROOT = Path(__file__).parents[1]
THUMBNAILS = ROOT / "docs/figures/gallery"
WIDTH = 600  # pixels
HEAD = """\
# Figures

Each figure is a target: `snakemake --cores 2 results/NAME/plots/FIGURE.pdf` draws it with whatever
it still needs, whether the config lists it under `plots` or not; the PNG is written beside it. A
figure of one policy takes the policy's name: `reward_histograms/rloo/hhh-60.pdf`. The title of a
figure says what was found, and `FIGURE.txt` beside it says it in more words. Levels are in standard
deviations of the base model's rewards where several values are compared, and a point stands exactly
where its number is. Values on the axes of figures of pairs and of λ are those of
`evaluation.values`, in their order.

Pictures: the sandbox study, and `configs/published.yaml` and the real study for figures that it
does not draw. This page and its thumbnails are written by
`python tools/gallery.py results/sandbox/plots`.
"""


def entry(name: str) -> str:
    """A figure's question, target and thumbnail."""
    question = (plots.module(name).__doc__ or "").splitlines()[0]
    policy = "/FAMILY/VARIANT" if plots.figure(name).of_a_policy else ""
    lines = [f"## {name}", "", question, "", f"`results/NAME/plots/{name}{policy}.pdf`"]
    if (THUMBNAILS / f"{name}.png").exists():
        lines += ["", f"![{name}](figures/gallery/{name}.png)"]
    return "\n".join(lines)


def thumbnail(source: Path, target: Path) -> None:
    """A small copy of a figure in few colours."""
    with Image.open(source) as picture:
        whole = picture.convert("RGB")
    size = (WIDTH, round(whole.height * WIDTH / whole.width))
    target.parent.mkdir(parents=True, exist_ok=True)
    small = whole.resize(size, Image.Resampling.LANCZOS)
    # The default method gives thin lines of different colours the same one.
    small.quantize(48, method=Image.Quantize.FASTOCTREE).save(target, optimize=True)


def main() -> None:
    drawn = Path(sys.argv[1])
    for name in plots.names():
        found = [drawn / f"{name}.png", *sorted(drawn.glob(f"{name}/*/*.png"))]
        if source := next((path for path in found if path.exists()), None):
            thumbnail(source, THUMBNAILS / f"{name}.png")
    write_text(
        ROOT / "docs/figures.md", "\n\n".join([HEAD.rstrip(), *map(entry, plots.names())]) + "\n"
    )


if __name__ == "__main__":
    main()
