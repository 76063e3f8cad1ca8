"""The overview in a real browser, with hostile texts: nothing is hidden, lost, live or fetched."""

import base64
import io
import re
from typing import Any

import pytest
from browser import faults, needs_browser, opened
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from test_page import LABELS, POLICIES, frame, page

from polyalign.report import answers
from polyalign.report import page as page_module
from polyalign.report.content import Picture
from polyalign.report.html_tables import table

pytestmark = needs_browser
HOSTILE = {
    "a": "<script>window.hacked = 1</script></script><!-- <img src=x onerror=window.hacked=1>",
    "b": "w" * 400,
    "c": "turned \u202e around, مرحبا 你好 😀 \x00",
    "d": " ",
}
MANY = {f"value{i}": f"A rather long name {i}" for i in range(8)}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A page with hostile answers and a table of many columns."""
    folder = tmp_path_factory.mktemp("page")
    frames = {name: frame(name, list(HOSTILE)) for name in POLICIES}
    for name, rows in frames.items():
        rows["response"] = rows["prompt_id"].map(HOSTILE)
        for value in MANY:
            rows[value] = rows["humor"]
        frames[name] = rows
    frames["dpo/x"]["humor"] += frames["dpo/x"]["prompt_id"].map({"a": 1, "b": 3, "c": -2, "d": 0})
    frames["dpo/x"].loc[frames["dpo/x"]["prompt_id"] == "b", "response"] = "short"
    data = answers.answers_data(frames, LABELS | MANY)
    html = "\n".join(answers.answers_html(data))
    text = re.sub(
        r'<p>All test prompts with the first answer.*?"answers-data">.*?</script>',
        lambda _: html,
        page(),
        flags=re.DOTALL,
    )
    cells = ["map-d/both", *[("60.1 (50.2 to 70.3) | 61.4", 60.1)] * 6, ("< 0.001", 0.0)]
    head = ["Policy", *list(MANY.values())[:6], "p"]
    wide = table([name[-8:] for name in head], [cells, cells], search=False)
    text = text.replace("<h2>Families", f'<div id="six">{wide}</div><h2>Families')
    (folder / "page.html").write_text(text, encoding="utf-8")
    with opened(folder / "page.html", folder / "profile") as browser:
        yield browser


def size(driver: Any, width: int, height: int) -> None:
    settings = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", settings)


def prompts(driver: Any) -> list[str]:
    return [one.text for one in driver.find_elements(By.CSS_SELECTOR, "#answers .prompt")]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_window(driver: Any, width: int) -> None:
    size(driver, width, 844)
    script = "return document.documentElement.scrollWidth"
    assert driver.execute_script(script) <= width
    # A wide table scrolls in its own box.
    boxes = driver.find_elements(By.CSS_SELECTOR, "#answers .wide")
    wide = "return arguments[0].scrollWidth > arguments[0].clientWidth"
    assert width > 390 or all(driver.execute_script(wide, box) for box in boxes)
    top = "return document.querySelector('p').getBoundingClientRect().top + window.scrollY"
    assert 0 <= driver.execute_script(top) < 300


def test_six_values_with_intervals_fit_on_a_screen_and_no_number_is_broken(driver: Any) -> None:
    size(driver, 1280, 900)
    box = driver.find_element(By.CSS_SELECTOR, "#six .wide")
    assert driver.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", box)
    parts = "return [...arguments[0].querySelectorAll('td span')]"
    assert driver.execute_script(f"{parts}.map(one => one.textContent)", box)[:3] == [
        "60.1",
        "(50.2 to 70.3)",
        "| 61.4",
    ]
    lines = driver.execute_script(f"{parts}.map(one => one.getClientRects().length)", box)
    assert set(lines) == {1}


def test_rewards_are_coloured_by_their_place_among_the_base_models(driver: Any) -> None:
    script = """
      const all = [...document.querySelectorAll("#answers tbody tr")].map(row => row.cells);
      return all.map(cells => [+cells[2].textContent, getComputedStyle(cells[2]).backgroundColor]);
    """
    found = driver.execute_script(script)
    # Rewards of the base model's four answers are 0 to 3: 1.5 is their middle.
    assert {reward > 1.5 for reward, _ in found} == {True, False}
    for reward, colour in found:
        assert colour.startswith("rgba(31, 78, 121" if reward > 1.5 else "rgba(127, 74, 30"), reward


def test_a_figure_has_its_natural_size_on_a_phone_and_scrolls_in_its_box(tmp_path: Any) -> None:
    png = io.BytesIO()
    Image.new("RGB", (2100, 300)).save(png, "PNG")
    html = re.sub(
        r"<figure id=.*?</figure>",
        page_module._picture(Picture("one", png.getvalue(), "Found.")),
        page(),
        count=1,
        flags=re.DOTALL,
    )
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    with opened(tmp_path / "page.html", tmp_path / "profile") as browser:
        size(browser, 390, 844)
        image = browser.find_element(By.CSS_SELECTOR, "figure img")
        assert browser.execute_script("return arguments[0].clientWidth", image) == 672
        wide = "const box = arguments[0].parentNode; return box.scrollWidth > box.clientWidth"
        assert browser.execute_script(wide, image)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        size(browser, 1280, 900)
        assert browser.execute_script("return arguments[0].clientWidth", image) > 1000


def test_heads_of_numbers_stand_above_them(driver: Any) -> None:
    size(driver, 1280, 900)
    script = """
      const table = document.querySelector("table.sorts"), cells = table.tBodies[0].rows[0].cells;
      const look = one => getComputedStyle(one).textAlign;
      return [...cells].map((cell, i) => [
        cell.classList.contains("number"), look(table.tHead.rows[0].cells[i].firstChild)]);
    """
    found = driver.execute_script(script)
    assert {number for number, _ in found} == {True, False}
    assert all((align == "right") == number for number, align in found)


def test_no_script_of_an_answer_runs_and_all_is_visible(driver: Any) -> None:
    size(driver, 1280, 900)
    assert driver.execute_script("return window.hacked") is None
    shown = driver.execute_script("return document.getElementById('answers').textContent")
    assert HOSTILE["a"] in shown
    assert "turned ⟨U+202E⟩ around, مرحبا 你好 😀 ⟨U+0000⟩" in shown
    assert faults(driver) == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_words_in_any_order_find_prompts(driver: Any) -> None:
    words = driver.find_element(By.NAME, "words")
    words.send_keys("AROUND turned")
    assert prompts(driver) == ["<i>c</i>?"]
    words.clear()
    words.send_keys("nowhere")
    assert prompts(driver) == []
    assert "no prompt" in driver.find_element(By.NAME, "found").text
    words.send_keys(Keys.CONTROL, "a")
    words.send_keys(Keys.BACKSPACE)
    assert prompts(driver) == ["<i>a</i>?", "<i>b</i>?", "<i>c</i>?"]
    assert driver.find_element(By.NAME, "found").text == "prompts 1 to 3 of 4"
    driver.find_element(By.NAME, "after").click()
    assert prompts(driver) == ["<i>d</i>?"]
    assert "(blank" in driver.find_element(By.ID, "answers").text
    driver.find_element(By.NAME, "before").click()


def test_prompts_sort_by_gains_and_losses(driver: Any) -> None:
    pick = "const s = document.querySelector(`[name=${arguments[0]}]`); s.value = arguments[1];"
    pick += "s.dispatchEvent(new Event('input'))"
    driver.execute_script(pick, "policy", "dpo/x")
    driver.execute_script(pick, "order", "gains")
    assert prompts(driver) == ["<i>b</i>?", "<i>a</i>?", "<i>d</i>?"]
    driver.execute_script(pick, "order", "losses")
    assert prompts(driver)[0] == "<i>c</i>?"
    driver.execute_script(pick, "order", "identifier")
    same = driver.find_elements(By.CSS_SELECTOR, "#answers .same")
    assert len(same) == 5, "two of three answers are those of the base, but one"
    assert {one.text for one in same} == {"the same answer as base/base"}


def test_a_policys_name_leads_to_its_answers(driver: Any) -> None:
    table = driver.find_element(By.CSS_SELECTOR, "#which-policies-are-better table")
    link = table.find_element(By.LINK_TEXT, "dpo/x")
    driver.execute_script("arguments[0].click()", link)
    assert driver.current_url.endswith("#answers")
    chosen = "return ['policy', 'order'].map(n => document.querySelector(`[name=${n}]`).value)"
    assert driver.execute_script(chosen) == ["dpo/x", "gains"]
    assert prompts(driver) == ["<i>b</i>?", "<i>a</i>?", "<i>d</i>?"]
    pick = "const s = document.querySelector('[name=order]'); s.value = 'identifier';"
    driver.execute_script(f"{pick} s.dispatchEvent(new Event('input'))")


def test_tables_sort_by_keyboard_with_what_is_missing_last(driver: Any) -> None:
    box = driver.find_element(By.CSS_SELECTOR, "#which-policies-are-better table")
    head = box.find_elements(By.CSS_SELECTOR, "th")[3]
    assert head.text.startswith("p (all)")

    def policies() -> list[str]:
        return [cell.text for cell in box.find_elements(By.CSS_SELECTOR, "td:first-child")]

    first = box.find_elements(By.CSS_SELECTOR, "th")[0]
    button = first.find_element(By.TAG_NAME, "button")
    for key, state, order in (
        (Keys.ENTER, "ascending", ["dpo/x", "map-d/both"]),
        (Keys.SPACE, "descending", ["map-d/both", "dpo/x"]),
    ):
        button.send_keys(key)
        assert first.get_attribute("aria-sort") == state
        assert policies() == order
    assert head.get_attribute("aria-sort") == "none"
    sorts = driver.find_element(By.CSS_SELECTOR, "#diagnostics table")
    kept = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[0].textContent)"
    cells = "arguments[0].tBodies[0].rows[0].cells[7]"
    driver.execute_script(f"{cells}.dataset.sort = '5'", sorts)
    button = sorts.find_elements(By.CSS_SELECTOR, "th button")[7]
    for _ in range(2):
        button.send_keys(Keys.ENTER)
        assert driver.execute_script(kept, sorts)[0] == "base/base", "dashes stay last"


def test_words_in_any_order_find_rows(driver: Any) -> None:
    part = driver.find_element(By.ID, "which-policies-are-better")
    field = part.find_element(By.CSS_SELECTOR, "input.filter")
    field.send_keys("60.0 MAP")
    rows = part.find_elements(By.CSS_SELECTOR, "tbody tr")
    shown = [row.text for row in rows if row.is_displayed()]
    assert [text.split()[0] for text in shown] == ["map-d/both"]
    assert part.find_element(By.CSS_SELECTOR, ".found").text == "1 of 2 rows"
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.BACKSPACE)


def test_print_has_every_column(driver: Any) -> None:
    """On A4 no table is wider than the sheet, and none is in a box that hides a part of it."""
    options = {"preferCSSPageSize": True, "printBackground": True}
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", options)["data"])
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert boxes
    assert all((round(float(w)), round(float(h))) == (842, 595) for w, h in boxes), "A4, landscape"
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    size(driver, round((297 - 24) / 25.4 * 96), 700)
    script = (
        "return [...document.querySelectorAll('table')].map(table => {"
        " const box = table.getBoundingClientRect();"
        " return [box.left, box.right, table.parentElement.scrollWidth"
        " - table.parentElement.clientWidth, getComputedStyle(table.parentElement).maxHeight]})"
    )
    width = driver.execute_script("return document.documentElement.clientWidth")
    found = driver.execute_script(script)
    assert len(found) >= 8
    for i, (left, right, over, height) in enumerate(found):
        assert left >= 0
        assert right <= width + 1
        assert over <= 1, i
        assert height == "none"
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
