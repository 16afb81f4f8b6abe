"""The report of a real run in a real browser, from the disk: everything shows, nothing is asked for from elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from tests.flow.browser import open_browser
from tests.flow.conftest import vedette

HOSTILE = "<script>document.title='taken over'</script>"
NAMES = [HOSTILE, "猫 שלום", "$x_1$ & \"quoted\" 'name'"]

# Contrast of every text with what is behind it, by the formula of WCAG 2; the lowest, and the text it is of.
LOWEST_CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([red, green, blue]) => [red, green, blue]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
    if (element.closest("script, style")) continue;
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < worst[0]) worst = [contrast, element.textContent.slice(0, 60)];
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a short run on a data set with hostile names, moved to another folder."""
    folder = tmp_path_factory.mktemp("hostile")
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for number in range(6):
            stem = f"{number} & b"
            cv2.imwrite(str(folder / "images" / split / f"{stem}.png"), random.integers(0, 255, (64, 80, 3)))
            (folder / "labels" / split / f"{stem}.txt").write_text(f"{number % 3} 0.5 0.5 0.4 0.5\n")
    data = folder / "data.yaml"
    description = {"path": ".", "train": "images/train", "val": "images/val", "names": NAMES}
    data.write_text(yaml.safe_dump(description, allow_unicode=True), encoding="utf-8")
    result = vedette(
        "train", "--data", data, "--cfg", "tiny", "--img", 64, "--batch", 3, "--epochs", 1, "--device", "cpu",
        "--workers", 0, "--project", folder / "runs",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    moved = tmp_path_factory.mktemp("moved") / "report.html"
    shutil.move(folder / "runs" / "exp" / "report.html", moved)
    shutil.rmtree(folder)
    return moved


@pytest.fixture(scope="module")
def browser() -> Any:
    with open_browser() as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_everything_and_asks_for_nothing(
    report: Path, browser: Any, width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    asked_for: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked_for.append(request.url))
    page.goto(report.as_uri())
    assert complaints == []
    assert [url for url in asked_for if not url.startswith("data:")] == [report.as_uri()]
    pictures = page.evaluate("[...document.images].map((it) => [it.naturalWidth > 0, it.alt.length > 0])")
    assert len(pictures) >= 12
    assert all(loaded and described for loaded, described in pictures)
    assert page.title() != "taken over"
    assert page.get_by_role("rowheader", name=HOSTILE).count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    contrast, text = page.evaluate(LOWEST_CONTRAST)
    assert contrast >= 4.5, text
    context.close()


def test_tables_are_sorted_with_the_keyboard(report: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    header = page.locator("th", has_text="class").first
    button = header.get_by_role("button")
    column = "[...document.querySelector('table[data-sortable]').tBodies[0].rows].map((it) => it.cells[0].textContent)"
    orders = []
    for _ in range(2):
        button.focus()
        page.keyboard.press("Enter")
        orders.append((header.get_attribute("aria-sort"), page.evaluate(column)))
    assert [order for order, _ in orders] == ["ascending", "descending"]
    assert orders[0][1] == orders[1][1][::-1]
    assert sorted(orders[0][1]) == sorted(NAMES)
    page.close()


def test_the_page_prints_with_what_was_folded(report: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page.evaluate("[...document.querySelectorAll('details')].every((it) => it.open)")
    page.close()
