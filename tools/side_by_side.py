"""Draws docs/figures/side_by_side.png: the side by side tab on a finished study, in a real browser.

    PYTHONPATH=workflow python tools/side_by_side.py [--study results/sandbox]

Needs the dependency group `app`, selenium, and Debian's packages chromium and chromium-driver.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/workflow"), str(ROOT / "tests/unit/app")]

from sidepage import browsed, page_of  # noqa: E402

from polyalign.answer.answers import Answerer  # noqa: E402
from polyalign.answer.ways import enter_study  # noqa: E402

PROMPT = "How do I bake bread?"
SIZES = {"": (1280, 720, False), "_phone": (390, 844, False), "_dark": (1280, 1400, True)}
"""End of the file's name → width and height in pixels, and whether it is dark."""


def main() -> None:
    """Answer one prompt by a palette, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="results/sandbox", help="folder of a finished study")
    parser.add_argument("--folder", default="docs/figures", help="where the picture is written")
    parser.add_argument("--all", action="store_true", help="on a phone and dark too")
    options = parser.parse_args()
    folder = Path(options.folder).resolve()
    study = enter_study(options.study)
    with (
        tempfile.TemporaryDirectory() as work,
        page_of(study, Answerer(study), Path(work) / "votes.jsonl") as address,
        browsed(address, Path(work) / "profile") as page,
    ):
        page.size(1280, 720)
        page.open("Sampling")
        page.write("seed", "1")
        page.open("Sampling")
        page.pick("aligned", "palette hhh-60")
        page.ask(PROMPT)
        page.open("Candidates")
        page.until(lambda: "chance" in page.text("candidates"))
        page.driver.execute_script("window.scrollTo(0, 0)")
        for end, size in SIZES.items():
            if not end or options.all:
                page.size(*size)
                page.driver.save_screenshot(str(folder / f"side_by_side{end}.png"))


if __name__ == "__main__":
    main()
