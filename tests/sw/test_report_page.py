"""The page of the report in Chromium: it fits its window, passes axe's rules, sorts and filters, and asks for nothing else.

Chromium is the browser of the system (Debian's package ``chromium``). Without one these tests are skipped, unless
``EDGEFLOW_NEED_CHROMIUM`` is set, as ``.ci/run`` does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from small_report import report_inputs
from tiny_transformer import Tiny

from edgeflow.sw.report import build, render

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Scheme = Literal["light", "dark"]
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    if CHROMIUM is None and not os.environ.get("EDGEFLOW_NEED_CHROMIUM"):
        pytest.skip("Chromium is not installed: apt-get install chromium")
    assert CHROMIUM is not None, "Chromium is not installed: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report that has every section."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(build(report_inputs(3))), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    """The report in a window of 1280 x 900 pixels."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(file.as_uri())
    yield opened
    opened.close()


def open_all(page: Page) -> None:
    """Unfold everything."""
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")


def serious(page: Page, rules: list[str] | None = None) -> list[tuple[str, str]]:
    """What axe finds to be a serious or critical fault, by all of its rules or some: the rule and the first element."""
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    violations: list[dict[str, Any]] = page.evaluate("options => axe.run(options)", options)["violations"]
    return [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_its_window_and_asks_for_nothing(browser: Browser, file: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(file.as_uri())
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.documentElement.scrollHeight") > 900
    assert problems == []
    assert asked == [file.as_uri()]
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page: Page, scheme: Scheme) -> None:
    page.emulate_media(color_scheme=scheme)
    open_all(page)
    assert serious(page) == []


@pytest.fixture(scope="module")
def comparison(tiny_build: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that ``edgeflow compare`` writes of two builds."""
    from edgeflow.sw.cli.main import main

    folder = tmp_path_factory.mktemp("comparison")
    options = ["--calib", str(tiny.calibration), "--weight-bits", "4", "-o", str(folder / "narrow")]
    assert main(["--quiet", "compile", str(tiny.model), *options]) == 0
    assert main(["--quiet", "compare", str(tiny_build), str(folder / "narrow"), "--html", str(folder / "c.html")]) == 0
    return folder / "c.html"


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_comparison_fits_and_has_no_serious_fault(
    browser: Browser, comparison: Path, scheme: Scheme, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(comparison.as_uri())
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert serious(page) == []
    page.close()


def test_axe_would_find_one(page: Page) -> None:
    page.evaluate("document.querySelector('h1').style.color = '#eee'")
    (fault,) = serious(page, ["color-contrast"])
    assert fault[0] == "color-contrast"


def test_the_first_columns_of_the_layers_are_on_the_screen(browser: Browser, file: Path, page: Page) -> None:
    heads = "[...document.querySelectorAll('#layer-table th')].map(h => [h.innerText.trim(), h.getBoundingClientRect().right])"
    edges = dict(page.evaluate(heads))
    first = ["#", "Layer", "Cycles", "SQNR, dB", "Weight bits", "Output bits", "Traffic"]
    assert [name.replace("\n", " ") for name in edges][: len(first)] == first
    inner = page.evaluate("document.querySelector('.tall').getBoundingClientRect().right")
    assert all(right <= inner for right in list(edges.values())[: len(first)])
    page.evaluate("document.querySelector('.tall').scrollLeft = 10000")
    name, box = "#layer-table tbody td.name", "document.querySelector('.tall').getBoundingClientRect()"
    assert page.evaluate(f"Math.abs(document.querySelector('{name}').getBoundingClientRect().left - {box}.left) <= 2")
    narrow = browser.new_page(viewport={"width": 400, "height": 900})
    narrow.goto(file.as_uri())
    edges = dict(narrow.evaluate(heads))
    assert max(list(edges.values())[:4]) <= 400
    narrow.close()


def column(page: Page, number: int) -> list[str]:
    """The texts of a column of the layer table, as they stand."""
    texts: list[str] = page.evaluate(
        "number => [...document.querySelectorAll('#layer-table tbody tr')].filter(row => !row.hidden)"
        ".map(row => row.cells[number].innerText.trim())",
        number,
    )
    return texts


def numbers(texts: list[str]) -> list[float]:
    """Those that are numbers."""
    return [float(text.replace("\u202f", "")) for text in texts if text not in ("–", "exact")]


def test_layers_sort_worst_first_and_blanks_last(page: Page) -> None:
    order = column(page, 0)
    assert order == [str(i) for i in range(len(order))]
    for button, place, reverse in (("worst error first", 3, False), ("slowest first", 2, True)):
        page.get_by_role("button", name=button).click()
        texts = column(page, place)
        assert numbers(texts) == sorted(numbers(texts), reverse=reverse)
        assert len(set(numbers(texts))) > 1
    head = page.locator("#layer-table th").nth(4).get_by_role("button")
    for reverse in (False, True):
        head.click()
        bits = column(page, 4)
        assert 0 < bits.count("–") < len(bits)
        assert bits[-bits.count("–") :] == ["–"] * bits.count("–")
        assert numbers(bits) == sorted(numbers(bits), reverse=reverse)
    page.get_by_role("button", name="execution").click()
    assert column(page, 0) == order


def test_layers_are_filtered_and_found_again(page: Page) -> None:
    order = column(page, 0)
    page.get_by_role("searchbox").fill("FC1 linear")
    names = column(page, 1)
    assert 0 < len(names) < len(order)
    assert all("fc1" in name for name in names)
    assert page.locator(".tools output").inner_text() == f"{len(names)} of {len(order)}"
    hidden = page.evaluate("[...document.querySelectorAll('#layer-table tbody tr')].find(row => row.hidden).id")
    page.evaluate("name => { location.hash = name; }", hidden)
    page.wait_for_function("document.querySelector('.tools input').value === ''")
    assert column(page, 0) == order


def test_without_script_everything_is_there(browser: Browser, file: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(file.as_uri())
    text = page.locator("main").inner_text()
    report = build(report_inputs(3))
    assert all(layer.name in text for layer in report.layers)
    assert not page.locator(".tools").is_visible()
    page.close()
