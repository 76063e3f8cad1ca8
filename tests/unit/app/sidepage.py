"""A page that has the side by side tab alone, and what a browser does on it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from browser import CHROMIUM, DRIVER, FLAGS
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from polyalign.answer.waiting import Waiting
from polyalign.app.page import make_theme
from polyalign.app.side_by_side import tab
from polyalign.study import Study

PATIENCE = 120
"""Seconds to wait for what a page shows, also on a busy machine."""

CONTRASTS = """
const parsed = text => text.match(/[\\d.]+/g).map(Number);
const light = c => { const [r, g, b] = c.map(v => { v /= 255;
  return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
  return .2126 * r + .7152 * g + .0722 * b };
const behind = one => {
  for (; one; one = one.parentElement) {
    const [r, g, b, a] = parsed(getComputedStyle(one).backgroundColor);
    if (a === undefined || a > .5) return [r, g, b];
  }
  return [255, 255, 255];
};
const found = {};
for (const one of document.querySelectorAll('body *')) {
  if (one.matches('[type=checkbox], [type=radio], [type=range]')) continue;
  const own = one.matches('textarea, input') ? one.value
    : [...one.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join('');
  const box = one.getBoundingClientRect();
  if (!own.trim() || !one.checkVisibility({visibilityProperty: true, opacityProperty: true})
      || box.width < 2 || box.height < 2 || one.disabled || one.matches('script, style')) continue;
  const style = getComputedStyle(one);
  const a = light(parsed(style.color).slice(0, 3)), b = light(behind(one));
  const name = `${one.tagName} ${one.className} ${own.trim().slice(0, 30)}`;
  found[name] = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
}
return found;
"""
"""Text on the page → contrast to what is behind it."""


@contextmanager
def page_of(study: Study, answerer: Any, votes: Path) -> Iterator[str]:
    """A server of the tab on a free port; its address."""
    waiting = Waiting(answerer, 256, answerer.at_once)
    with gr.Blocks(analytics_enabled=False, title="Polyalign", fill_width=True) as page:
        tab(study, waiting, votes)
    _, address, _ = page.launch(
        server_name="127.0.0.1", share=False, prevent_thread_lock=True, quiet=True,
        inbrowser=False, footer_links=[], ssr_mode=False,
        theme=make_theme(),
    )  # fmt: skip
    try:
        yield address
    finally:
        page.close(verbose=False)
        waiting.close()


class Page:
    """What a person does on the tab, and sees there."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.until(lambda: self.field("prompt").is_displayed())

    def until(self, true: Callable[[], Any]) -> Any:
        """What a condition gives once it holds."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if found := true():
                    return found
            except Exception:  # the page changes while it is read
                pass
            time.sleep(0.1)
        raise AssertionError(f"did not come: {self.value('status')}")

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """The window's size in pixels, and its colours."""
        settings = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", settings)
        self.driver.execute_script("document.body.classList.toggle('dark', arguments[0])", dark)

    def field(self, name: str) -> Any:
        """The field of a component."""
        return self.driver.find_element(By.CSS_SELECTOR, f"#{name} textarea, #{name} input")

    def value(self, name: str) -> str:
        """What a field holds."""
        return str(self.field(name).get_property("value"))

    def write(self, name: str, text: str) -> None:
        """Put a text into a field, at once."""
        field = self.field(name)
        self.driver.execute_script("arguments[0].focus()", field)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(Keys.BACKSPACE)
        self.driver.execute_cdp_cmd("Input.insertText", {"text": text})
        field.send_keys(Keys.TAB)

    def press(self, name: str) -> None:
        """Press a button, or a checkbox."""
        part = self.driver.find_element(By.ID, name)
        box = part.find_elements(By.CSS_SELECTOR, "input[type=checkbox]")
        self.driver.execute_script("arguments[0].click()", box[0] if box else part)

    def open(self, title: str) -> None:
        """Open what is folded."""
        self.press_text(title)

    def press_text(self, text: str) -> None:
        """Press the button whose text begins so."""

        def press() -> bool:
            for button in self.driver.find_elements(By.TAG_NAME, "button"):
                if button.text.strip().startswith(text):
                    self.driver.execute_script("arguments[0].click()", button)
                    return True
            return False

        self.until(press)

    def pick(self, name: str, text: str) -> None:
        """Pick the option of a dropdown that has this text."""
        self.driver.execute_script("arguments[0].scrollIntoView()", self.field(name))
        self.field(name).click()

        def option() -> Any:
            for one in self.driver.find_elements(By.CSS_SELECTOR, "[role=option]"):
                if text in one.text:
                    one.click()
                    return True
            return False

        self.until(option)

    def ask(self, prompt: str) -> None:
        """Ask, and wait for the answers."""
        self.write("prompt", prompt)
        # What the state said of the last question must not be taken for this one's.
        self.driver.execute_script("arguments[0].value = ''", self.field("status"))
        self.press("ask")
        self.until(self.ended)

    def ended(self) -> bool:
        """Whether the state says that answers are there."""
        said = self.value("status")
        return said.startswith(("Answered", "Which", "Not", "Stopped"))

    def text(self, name: str) -> str:
        """All text of a component."""
        script = "return document.getElementById(arguments[0]).innerText"
        return str(self.driver.execute_script(script, name))

    def shown(self, name: str) -> bool:
        """Whether a component can be seen."""
        return any(one.is_displayed() for one in self.driver.find_elements(By.ID, name))

    def contrasts(self) -> dict[str, float]:
        """Every text that can be seen → its contrast to what is behind it."""
        return dict(self.driver.execute_script(CONTRASTS))

    def fetched(self) -> list[str]:
        """Addresses that the page has asked for."""
        script = "return performance.getEntriesByType('resource').map(one => one.name)"
        return list(self.driver.execute_script(script))


@contextmanager
def browsed(address: str, profile: Path) -> Iterator[Page]:
    """A browser that shows the tab; it can reach this machine alone."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    flags = [flag for flag in FLAGS if not flag.startswith("--host-resolver-rules")]
    # Only the address of this machine can be reached.
    flags += [
        f"--user-data-dir={profile}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    for flag in flags:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        driver.get(address)
        yield Page(driver)
    finally:
        driver.quit()
