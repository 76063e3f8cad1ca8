"""The explorer in a real browser: the numbers of `polyalign solve`, and nothing is fetched."""

import shlex
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
import yaml
from browser import PATIENCE, faults, needs_browser, opened
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from serving import served
from test_exploring import NAMES, frame

from polyalign.app.tables import read_tables
from polyalign.cli import main

pytestmark = needs_browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("app") / "rewards.csv"
    frame(60, 8).to_csv(file, index=False)
    with served([str(file)]) as where:
        yield where


@pytest.fixture(scope="module")
def driver(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(address, tmp_path_factory.mktemp("profile") / "p") as browser:
        until(lambda: table(browser))
        yield browser


@pytest.fixture(autouse=True)
def fresh(driver: Any, address: str) -> None:
    driver.get(address)
    until(lambda: "level=" in driver.current_url and table(driver) and comparison(driver))


def until(happens: Callable[[], Any]) -> Any:
    """The first true answer; parts of the page are replaced meanwhile."""
    end, last = time.monotonic() + PATIENCE, None
    while time.monotonic() < end:
        try:
            if last := happens():
                return last
        except Exception as fault:
            last = fault
        time.sleep(0.1)
    raise AssertionError(f"it did not happen: {last}")


def cells(driver: Any, where: str) -> list[list[str]]:
    """Rows of a table of the page; of each cell the first line."""
    script = (
        "return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map(row =>"
        " [...row.cells].map(cell => cell.firstChild ? cell.firstChild.textContent : ''))"
    )
    return list(driver.execute_script(script, where))


def table(driver: Any) -> dict[str, list[str]]:
    """Value → base, asked, realised, λ, as text."""
    return {row[0]: row[1:5] for row in cells(driver, "#numbers")}


def comparison(driver: Any) -> list[list[str]]:
    return cells(driver, "#compared")


def verdict(driver: Any) -> str:
    return str(driver.find_element(By.CSS_SELECTOR, "#verdict .pa-verdict").text)


def message(driver: Any) -> str:
    return str(driver.find_element(By.CSS_SELECTOR, "#verdict .pa-message").text)


def command(driver: Any) -> list[str]:
    return shlex.split(driver.find_element(By.CSS_SELECTOR, "#command pre").text)


def press(driver: Any, i: int, *keys: str) -> None:
    slider = driver.find_element(By.CSS_SELECTOR, f"#level-{i} input[type=range]")
    slider.send_keys(*keys)


def click(driver: Any, element: str) -> None:
    found = driver.find_element(By.CSS_SELECTOR, element)
    driver.execute_script("arguments[0].click()", found)


def solved(driver: Any, capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, list[str]]]:
    """What `polyalign solve` prints for the palette on the page: message; value → its numbers."""
    main(command(driver)[1:])
    first, head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["value", "base", "target", "realised", "lam"]
    rows = [line.split() for line in lines[: len(NAMES)]]
    return first, {row[0]: row[1:] for row in rows}


def ends_shown(driver: Any) -> list[float]:
    sliders = driver.find_elements(By.CSS_SELECTOR, ".pa-slider input[type=range]")
    return [float(slider.get_attribute("max")) for slider in sliders]


def ends_computed(driver: Any) -> list[float]:
    """The upper ends of the sliders for the palette on the page."""
    words = command(driver)
    (read,) = read_tables([words[2]])
    problem = read.problem(words[4], NAMES)
    levels = dict(word.split("=") for word in words[6::2])
    highest = problem.highest(problem.move(levels))
    return [problem.ends(i, float(highest[i]), "raw")[1] for i in range(len(NAMES))]


def test_moved_sliders_show_what_solve_prints(
    driver: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, keys in ((0, [Keys.ARROW_RIGHT] * 6), (1, [Keys.ARROW_RIGHT] * 3), (2, [Keys.END])):
        before = command(driver)
        press(driver, i, *keys)
        until(lambda before=before: command(driver) != before)
        until(lambda: [table(driver), message(driver)] == list(solved(driver, capsys))[::-1])
        until(lambda: ends_shown(driver) == ends_computed(driver))
        # In scope prompt the row of the comparison is the same palette.
        until(lambda: comparison(driver)[0][4:] == [row[3] for row in table(driver).values()])
    assert verdict(driver).endswith("too few samples carry the weight")
    assert any(row[3] != "0" for row in table(driver).values())


def test_into_infeasibility_and_back(driver: Any, capsys: pytest.CaptureFixture[str]) -> None:
    click(driver, "#beyond input")
    until(lambda: "beyond=1" in driver.current_url)
    for i in (0, 1):
        press(driver, i, Keys.END)
        until(lambda i=i: command(driver)[6 + 2 * i] != f"{NAMES[i]}=mean")
    until(lambda: "Infeasible" in verdict(driver))
    until(lambda: "the best policy misses the target by" in message(driver))
    assert message(driver) == solved(driver, capsys)[0]
    assert {row[3] for row in table(driver).values()} == {"-"}
    click(driver, "#back")
    until(lambda: "Supported" in verdict(driver))
    told = driver.find_element(By.ID, "given-up").text
    assert "humor:" in told
    assert "given up" in told
    until(lambda: table(driver) == solved(driver, capsys)[1])
    shown = table(driver)
    driver.refresh()
    until(lambda: table(driver) == shown)
    click(driver, "#reset")
    until(lambda: {row[3] for row in table(driver).values()} == {"0"})
    assert "beyond=1" in driver.current_url


def test_one_value_as_high_as_it_goes(driver: Any, capsys: pytest.CaptureFixture[str]) -> None:
    click(driver, "#maximise")
    until(lambda: float(table(driver)["humor"][3]) > 0)
    until(lambda: "Supported" in verdict(driver))
    until(lambda: table(driver) == solved(driver, capsys)[1])
    front = until(lambda: driver.find_element(By.CSS_SELECTOR, "#front svg"))
    assert "Front of humor and helpful" in front.get_attribute("aria-label")
    assert driver.find_elements(By.CSS_SELECTOR, "#front circle.pa-now")
    # A number of which the sign is cut off would be another number.
    script = (
        "const box = arguments[0].getBoundingClientRect();"
        "return [...arguments[0].querySelectorAll('text')].map(one => one.getBoundingClientRect())"
        ".filter(one => one.left < box.left || one.right > box.right || one.top < box.top"
        " || one.bottom > box.bottom).length"
    )
    assert driver.execute_script(script, front) == 0


def test_files_for_download_hold_the_numbers(driver: Any) -> None:
    press(driver, 1, *[Keys.ARROW_RIGHT] * 4)
    until(lambda: float(table(driver)["helpful"][3]) > 0)
    click(driver, "#export")
    links = until(lambda: driver.find_elements(By.CSS_SELECTOR, "#files a[href]"))
    names = {link.get_attribute("href").rsplit("/", 1)[1]: link for link in links}
    assert set(names) == {"palette.csv", "palette.png"}
    rows = pd.read_csv(names["palette.csv"].get_attribute("href"))
    assert [f"{x:.4g}" for x in rows["lam"]] == [row[3] for row in table(driver).values()]
    with urllib.request.urlopen(names["palette.png"].get_attribute("href")) as picture:
        assert picture.read(4) == b"\x89PNG"


def test_the_palette_is_copied(driver: Any) -> None:
    press(driver, 1, Keys.ARROW_RIGHT)
    until(lambda: float(table(driver)["helpful"][3]) > 0)
    # The clipboard of a browser without a window cannot be read.
    driver.execute_script("navigator.clipboard.writeText = text => { window.copied = text }")
    click(driver, "#copy")
    told = until(lambda: driver.execute_script("return window.copied"))
    level = command(driver)[8].removeprefix("helpful=")
    assert yaml.safe_load(told)["palettes"]["explored"]["helpful"] == float(level)


def test_nothing_is_fetched_and_nothing_fails(driver: Any, address: str) -> None:
    press(driver, 0, Keys.ARROW_RIGHT)
    until(lambda: float(table(driver)["humor"][3]) > 0)
    script = "return performance.getEntriesByType('resource').map(one => one.name)"
    fetched = driver.execute_script(script)
    assert len(fetched) > 10
    assert [one for one in fetched if not one.startswith(f"{address}/")] == []
    assert faults(driver) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_window(driver: Any, width: int) -> None:
    settings = {"width": width, "height": 720, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", settings)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_control_has_a_name(driver: Any) -> None:
    script = (
        "return [...document.querySelectorAll('input, textarea, button, svg[role=img],"
        " [role=region]')].filter(one => one.offsetParent && !(one.ariaLabel || one.title ||"
        " one.textContent.trim() || (one.labels && one.labels.length))).map(one => one.outerHTML)"
    )
    assert driver.execute_script(script) == []


def test_dark_and_light_can_be_read(driver: Any, address: str) -> None:
    script = (
        "const rgb = text => text.match(/\\d+/g).slice(0, 3).map(Number);"
        "const light = c => { const [r, g, b] = c.map(v => { v /= 255;"
        " return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });"
        " return .2126 * r + .7152 * g + .0722 * b };"
        "const part = document.querySelector(arguments[0]);"
        "let behind = part;"
        "while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)')"
        " behind = behind.parentElement;"
        "const a = light(rgb(getComputedStyle(part).color));"
        "const b = light(rgb(getComputedStyle(behind).backgroundColor));"
        "return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), b]"
    )
    for theme, dark in (("dark", True), ("light", False)):
        driver.get(f"{address}/?__theme={theme}")
        until(lambda: table(driver))
        for part in (".pa-table td", ".pa-message", ".pa-table small"):
            contrast, back = driver.execute_script(script, part)
            assert contrast > 4.5, (theme, part)
            assert (back < 0.2) == dark


def test_a_wrong_address_says_what_is_wrong(driver: Any, address: str) -> None:
    driver.get(f"{address}/?level=humor%3D<img src=x onerror='window.hacked=1'>")
    until(lambda: "no value humor=<img" in driver.find_element(By.ID, "given-up").text)
    assert driver.execute_script("return window.hacked") is None
    assert {row[3] for row in table(driver).values()} == {"0"}
