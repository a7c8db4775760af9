"""The static site in a real browser, opened from disk: no complaint, no request elsewhere, accessible, with keys."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_store import make_images, make_store

from results.site import SiteOptions, write_site

pytestmark = pytest.mark.browser

SIZES = ((1440, 900), (1280, 720), (700, 900))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    options = SiteOptions(images=make_images(folder / "pictures"), licence="CC0", units=4)
    return write_site([make_store(folder / "results.duckdb").path], folder / "site", options).path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from browser import chromium

    with chromium() as opened:
        yield opened


@dataclasses.dataclass
class Visit:
    """A page from disk, and everything the browser complains of."""

    page: Any
    site: Path
    problems: list[str] = dataclasses.field(default_factory=list)

    def open(self, path: str) -> Any:
        self.page.goto((self.site / path).as_uri())
        return self.page

    def asked(self, request: Any) -> None:
        if not request.url.startswith(self.site.as_uri()):
            self.problems.append(f"request: {request.url}")


@pytest.fixture
def visit(browser: Any, site: Path) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    fresh = Visit(page, site)
    page.on("console", lambda message: fresh.problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: fresh.problems.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (fresh.problems.append("dialog"), dialog.dismiss()))
    page.on("requestfailed", lambda request: fresh.problems.append(f"failed: {request.url}"))
    page.on("request", fresh.asked)
    yield fresh
    context.close()
    assert fresh.problems == []


def paths(site: Path) -> list[str]:
    return sorted(file.relative_to(site).as_posix() for file in site.rglob("*.html"))


def test_every_page_is_accessible_in_light_and_dark(visit: Visit, site: Path) -> None:
    from browser import serious_findings

    for path in paths(site):
        for scheme in ("light", "dark"):
            visit.page.emulate_media(color_scheme=scheme)
            visit.open(path)
            # Preloading would request the style once more, which the policy of the page forbids.
            assert serious_findings(visit.page, {"preload": False}) == [], (path, scheme)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_no_page_scrolls_sideways_and_styles_and_pictures_are_there(visit: Visit, site: Path, size: Any) -> None:
    visit.page.set_viewport_size({"width": size[0], "height": size[1]})
    for path in paths(site):
        page = visit.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path
        if path != "404.html":
            assert page.evaluate("getComputedStyle(document.querySelector('header')).display") == "flex", path
        page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
        until = time.monotonic() + 30
        # The policy of the page forbids `wait_for_function`, which evaluates texts.
        while not page.evaluate("[...document.images].every(image => image.complete)"):
            assert time.monotonic() < until, path
            page.wait_for_timeout(50)
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), path


def test_a_header_sorts_and_the_filter_leaves_the_rows_that_match(visit: Visit) -> None:
    page = visit.open("board.html")
    table = page.locator("table.board").first
    names = table.locator("tbody").first.locator("th.method a")
    before = names.all_inner_texts()
    header = table.locator("thead th", has_text="Method")
    header.locator("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert names.all_inner_texts() == sorted(before, key=str.casefold) != before
    header.locator("button").click()
    assert names.all_inner_texts() == sorted(before, key=str.casefold, reverse=True)
    accuracy = table.locator("thead th", has_text="Accuracy")
    assert not accuracy.is_visible()
    page.get_by_label("All columns").first.check()
    accuracy.locator("button").click()
    assert names.first.inner_text() == "TopK SAE"
    page.get_by_label("Filter").first.fill("elude")
    assert next(name for name in names.all() if name.is_visible()).inner_text() == "ELUDe"
    assert sum(name.is_visible() for name in names.all()) == 1


def test_a_mark_says_its_values_and_opens_the_method(visit: Visit) -> None:
    page = visit.open("index.html")
    mark = page.locator("svg.front.wide a.mark[data-tip^='ELUDe']")
    mark.focus()
    tip = page.locator(".tip").first
    assert tip.is_visible()
    assert [line.partition(" 6")[0].partition(" 1")[0] for line in tip.inner_text().splitlines()[:3]] == [
        *("ELUDe", "MS score", "R2")
    ]
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    mark.locator("path[transform]").hover()
    assert tip.is_visible()
    mark.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/methods/elude-*.html")
    assert page.locator("h1").inner_text() == "ELUDe"


def test_units_with_keys(visit: Visit, site: Path) -> None:
    path = next(file for file in paths(site) if file.startswith("units/") and "index" not in file)
    page = visit.open(path)
    links = page.locator(".card h3 a")
    page.keyboard.press("ArrowRight")
    assert links.nth(0).evaluate("link => link === document.activeElement")
    page.keyboard.press("ArrowRight")
    assert links.nth(1).evaluate("link => link === document.activeElement")
    page.keyboard.press("Enter")
    assert page.url.endswith(links.nth(1).get_attribute("href"))


@pytest.mark.parametrize("scripts", [True, False])
def test_a_picture_is_enlarged_at_an_address_of_its_own(browser: Any, site: Path, scripts: bool) -> None:
    context = browser.new_context(java_script_enabled=scripts, viewport={"width": 1280, "height": 720})
    page = context.new_page()
    path = next(file for file in paths(site) if file.startswith("units/") and "index" not in file)
    page.goto((site / path).as_uri())
    card = page.locator(".card").first
    picture, back = card.locator(".picture"), card.get_by_text("Back to all units")
    assert picture.bounding_box()["width"] < 300 and not back.is_visible()
    card.locator(".enlarge").click()
    number = card.get_attribute("id")
    assert page.url.endswith(f"#{number}") and picture.bounding_box()["width"] > 600
    # The address leads there again.
    page.goto("about:blank")
    page.goto(f"{(site / path).as_uri()}#{number}")
    assert picture.bounding_box()["width"] > 600
    back.click()
    assert picture.bounding_box()["width"] < 300
    context.close()


def test_the_first_screen_has_the_headline_and_the_whole_plot(visit: Visit) -> None:
    page = visit.open("index.html")
    box = page.locator("svg.front.wide").first.bounding_box()
    assert box["y"] + box["height"] <= 720
    assert page.locator("h2").first.bounding_box()["y"] < 120


def test_pages_work_without_scripts(browser: Any, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "board.html").as_uri())
    assert page.locator("table.board").first.is_visible() and not page.get_by_label("Filter").first.is_visible()
    context.close()
