"""Draw docs/figures/explorer.png again, from the finished default study: `python` this file."""

import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).parents[3]
sys.path += [str(ROOT / "tests/workflow"), str(ROOT / "workflow")]

from browser import opened  # noqa: E402
from serving import served  # noqa: E402
from test_explorer_browser import cells, until  # noqa: E402

WIDTH, HEIGHT = 1280, 720
LEVELS = {"humor": "mean+0.3sd", "helpful": "q60", "harmless": "q65"}
KEPT = ("diversity", "coherence", "perplexity")


def main(picture: Path, width: int, height: int) -> None:
    """Take a picture of the explorer with a palette, in a window of the given size."""
    levels = {**LEVELS, **dict.fromkeys(KEPT, "mean")}
    query = urlencode([("level", f"{name}={level}") for name, level in levels.items()])
    with (
        tempfile.TemporaryDirectory() as profile,
        served(["--study", "results/sandbox"]) as where,
        opened(f"{where}/?{query}", Path(profile) / "p") as driver,
    ):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        until(lambda: cells(driver, "#compared"))
        driver.save_screenshot(str(picture))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main(ROOT / "docs/figures/explorer.png", WIDTH, HEIGHT)
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
