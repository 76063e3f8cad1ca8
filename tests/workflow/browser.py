"""A real browser without a window and without a network, for tests of what readers open."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import (
    frame_to_be_available_and_switch_to_it,
)
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 120
"""Seconds to wait for what a page shows, also on a busy machine."""

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs Debian's packages chromium and chromium-driver",
)


@contextmanager
def opened(page: Path | str, profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser that shows a file, or an address of this machine.

    Args:
        page: the file, or the address.
        profile: folder for the browser's own files.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        driver.get(page if isinstance(page, str) else page.resolve().as_uri())
        yield driver
    finally:
        driver.quit()


def faults(driver: webdriver.Chrome) -> list[str]:
    """Errors on the console: of scripts, and of what could not be loaded."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def first_paragraph(driver: webdriver.Chrome) -> tuple[str, float]:
    """Text of the first paragraph of the report's first page, and its top in pixels, unscrolled.

    What is above 0 cannot be scrolled to.
    """
    wait = WebDriverWait(driver, PATIENCE)
    paragraph = wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".document p"))[0]
    script = "return arguments[0].getBoundingClientRect().top"
    return paragraph.text, float(driver.execute_script(script, paragraph))


def figures_shown(driver: webdriver.Chrome) -> dict[str, int]:
    """Figure → width in pixels of the picture that the report shows when it is called up."""
    wait = WebDriverWait(driver, PATIENCE)
    wait.until(lambda page: page.find_elements(By.LINK_TEXT, "Figures"))[0].click()
    eyes = (By.CSS_SELECTOR, "a[iconname=eye]")
    number = len(wait.until(lambda page: page.find_elements(*eyes)))
    shown = {}
    for i in range(number):
        row = driver.find_elements(*eyes)[i].find_element(By.XPATH, "./ancestor::tr[1]")
        name = row.text.split("\n")[0].strip()
        driver.execute_script("arguments[0].click()", row.find_element(*eyes))
        wait.until(lambda page, name=name: _picture(page, name))
        shown[name] = _picture(driver, name)
    return shown


def table_names(driver: webdriver.Chrome) -> list[str]:
    """The tables that the report lists, after calling up their list."""
    wait = WebDriverWait(driver, PATIENCE)
    wait.until(lambda page: page.find_elements(By.LINK_TEXT, "Tables"))[0].click()
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "a[iconname=eye]"))
    return [row.text.split("\n")[0].strip() for row in _results(driver)]


def open_table(driver: webdriver.Chrome, name: str) -> None:
    """Show a table of the list inside the report; the driver then looks into its frame."""
    row = next(row for row in _results(driver) if row.text.startswith(name))
    eye = row.find_element(By.CSS_SELECTOR, "a[iconname=eye]")
    driver.execute_script("arguments[0].click()", eye)
    wait = WebDriverWait(driver, PATIENCE)
    wait.until(frame_to_be_available_and_switch_to_it((By.TAG_NAME, "iframe")))
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "tbody tr"))


def _results(driver: webdriver.Chrome) -> list[WebElement]:
    rows = driver.find_elements(By.CSS_SELECTOR, "tbody tr")
    return [row for row in rows if row.find_elements(By.CSS_SELECTOR, "a[iconname=eye]")]


def _picture(driver: webdriver.Chrome, name: str) -> int:
    """Width of the picture that is shown, once it is the one of this figure and has loaded."""
    return int(
        driver.execute_script(
            "const found = Object.values(results).find("
            "  r => r.mime_type === 'image/png' && r.labels.figure === arguments[0]);"
            "const image = [...document.images].find(i => i.src === found.data_uri);"
            "return image && image.complete ? image.naturalWidth : 0;",
            name,
        )
    )


def search(driver: webdriver.Chrome, text: str) -> list[str]:
    """What the report lists after searching for a text, line by line."""
    field = driver.find_element(By.CSS_SELECTOR, "input[placeholder^=Search]")
    field.send_keys(text, Keys.ENTER)
    wait = WebDriverWait(driver, PATIENCE)
    wait.until(lambda page: "Search results" in page.find_element(By.TAG_NAME, "body").text)
    return [row.text.split("\n")[0].strip() for row in _results(driver)]


def rows_shown(driver: webdriver.Chrome, table: int) -> list[str]:
    """Texts of the rows that a table of the overview shows, in order."""
    script = (
        "return [...document.querySelectorAll('table')[arguments[0]].tBodies[0].rows]"
        ".filter(row => !row.hidden).map(row => row.textContent)"
    )
    return list(driver.execute_script(script, table))
