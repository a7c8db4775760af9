"""The front in a real browser: its first screen, the method in focus, names, intervals, accessibility; opt-in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flagged_store
import pytest
from app_store import DROP, make_images

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import CHART, Visit, app_server, axis_is, choose, expect, mark, visiting

from results.csv_guard import csv_cell

pytestmark = pytest.mark.browser

PANEL = ".st-key-front_panel"
LAYER = "A ViT · blocks.9.mlp.fc2"


@pytest.fixture(scope="module")
def flagged_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app on a store with flagged and virtual rows."""
    folder = tmp_path_factory.mktemp("flagged")
    store = flagged_store.make_store(folder / "results.duckdb")
    with app_server(store.path, make_images(folder / "pictures"), folder) as running:
        yield running


@pytest.mark.parametrize("path", ["", "front"])
def test_the_first_screen_has_the_title_the_sentence_and_the_whole_plot(visit: Visit, path: str) -> None:
    visit.page.set_viewport_size({"width": 1280, "height": 720})
    page = visit.open(path)
    visit.heading(LAYER)
    mark(page, "ELUDe")
    (title,), (plot,) = boxes(page, "h1"), boxes(page, CHART)
    assert title["top"] < 100 and plot["bottom"] <= 720 and plot["right"] <= 1280
    sentence = page.locator(".st-key-front_headline strong")
    expect(sentence).to_contain_text("points of MS score ahead of the best SAE, TopK SAE (95 % interval")
    (box,) = boxes(page, ".st-key-front_headline strong")
    assert title["bottom"] <= box["top"] and box["bottom"] <= plot["top"]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280


def test_a_click_shows_the_method_beside_the_plot(visit: Visit) -> None:
    page = visit.open("")
    mark(page, "TopK SAE").click()
    chosen = page.locator(f"{PANEL} [data-testid=stSelectbox] input")
    expect(chosen).to_have_value("TopK SAE")
    expect(page).to_have_url(re.compile(r"focus=topk_sae-"))
    visit.heading(LAYER)
    expect(page.locator(PANEL)).to_contain_text("on the front")
    visit.pictures()
    expect(page.locator(f"{CHART} .mark-symbol path[stroke='#C2499D']")).to_have_count(1)
    # A name does the same, and a click beside the marks changes nothing.
    page.locator(f"{CHART} .mark-text text", has_text="ELUDe").click()
    expect(chosen).to_have_value("ELUDe")
    address = page.url
    page.locator(CHART).click(position={"x": 120, "y": 400})
    page.wait_for_timeout(1000)
    assert page.url == address
    # The address reproduces the view.
    page.goto(re.sub("focus=[^&]*", "focus=topk_sae-42", address))
    expect(chosen).to_have_value("TopK SAE")


def test_the_panel_leads_on_and_the_way_back_to_the_front(visit: Visit) -> None:
    page = visit.open("?focus=topk_sae-42")
    page.locator(PANEL).get_by_role("link", name=re.compile("Open$")).click()
    visit.heading("TopK SAE")
    page.go_back()
    visit.heading(LAYER)
    mark(page, "ELUDe").click()
    expect(page).to_have_url(re.compile("focus=elude-"))
    # A run of the page that is still going on would close the menu.
    page.wait_for_timeout(1000)
    visit.is_idle()
    page.locator(PANEL).get_by_role("button", name="Compare with").click()
    page.get_by_role("menuitem", name="TopK SAE").click()
    expect(page).to_have_url(re.compile(r"/compare\?(?=.*a=elude-)(?=.*b=topk_sae-)"))
    page.go_back()
    visit.heading(LAYER)
    page.locator(PANEL).get_by_role("link", name=re.compile(r"Unit \d+$")).first.click()
    visit.heading(re.compile(r"^Unit \d+"))
    expect(page).to_have_url(re.compile(r"/units\?(?=.*unit=\d+)(?=.*cell=elude-)"))
    visit.pictures()


def test_the_panel_can_be_closed_and_opened(visit: Visit) -> None:
    page = visit.open("")
    mark(page, "ELUDe")
    narrow = boxes(page, CHART)[0]["width"]
    page.locator(PANEL).get_by_role("button", name="close").click()
    expect(page.locator(PANEL)).to_have_count(0)
    expect(page).to_have_url(re.compile("focus=none"))
    mark(page, "ELUDe")
    assert boxes(page, CHART)[0]["width"] > narrow + 200
    mark(page, "TopK SAE").click()
    expect(page.locator(f"{PANEL} [data-testid=stSelectbox] input")).to_have_value("TopK SAE")


def test_axes_are_chosen_and_stay(visit: Visit) -> None:
    page = visit.open("")
    axis_is(page, "R2 (%), higher is better →")
    # Twice: a choice must not be lost because the one before is in the address.
    choose(page, "Horizontal axis", "latency")
    axis_is(page, "latency (ms), lower is better ←")
    choose(page, "Horizontal axis", "R2")
    axis_is(page, "R2 (%), higher is better →")
    expect(page).to_have_url(re.compile("x=r2"))
    choose(page, "Size of a mark", "latency")
    expect(page.locator(f"{CHART} .role-legend-title text")).to_have_text("latency (ms)")
    expect(page).to_have_url(re.compile("size=latency_ms"))


def test_the_front_is_read_and_left_with_the_keyboard(visit: Visit) -> None:
    page = visit.open("")
    expect(page.locator(f"{CHART} .mark-symbol path").first).to_be_attached()
    # Choices: type into the box, and take what is found.
    page.locator(f"{PANEL} [data-testid=stSelectbox] input").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.type("TopK")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("focus=topk_sae-"))
    page.wait_for_timeout(500)
    for _ in range(60):
        page.keyboard.press("Tab")
        tag, text = page.evaluate("() => [document.activeElement.tagName, document.activeElement.innerText]")
        if tag == "A" and text.split()[-1:] == ["Open"]:
            break
    else:
        raise AssertionError("the link to the method is not reached with the tab key")
    page.keyboard.press("Enter")
    visit.heading("TopK SAE")


def test_an_interval_is_light_unless_its_method_is_in_the_headline_or_under_the_pointer(visit: Visit) -> None:
    page = visit.open("?focus=none")
    mark(page, "TopK SAE")
    opacities = "all => all.map(bar => Number(bar.getAttribute('opacity')))"
    # Those of the two methods of the headline can be compared at once.
    for colour in ("#0072B2", "#D55E00"):
        bars = page.locator(f"{CHART} .mark-rule line[stroke='{colour}']")
        assert bars.count() >= 1 and set(bars.evaluate_all(opacities)) == {0.9}
    colour = mark(page, DROP).get_attribute("fill")
    bars = page.locator(f"{CHART} .mark-rule line[stroke='{colour}']")
    assert bars.count() >= 1 and set(bars.evaluate_all(opacities)) == {0.45}
    mark(page, DROP).hover()
    expect(bars.first).to_have_attribute("opacity", "1")
    expect(page.locator("#vg-tooltip-element h2")).to_have_text(DROP)


def test_published_marks_are_hollow_and_the_line_stays(visit: Visit) -> None:
    page = visit.open("?x=accuracy&focus=none")
    mark(page, "ELUDe")
    every = page.locator(f"{CHART} .mark-symbol path[aria-label*=': MS score']")
    before = every.count()
    steps = page.locator(f"{CHART} .mark-line path")
    expect(steps).to_have_count(1)
    # Corners of the staircase: a move, and what follows.
    corners = len(re.findall("[LHV]", steps.get_attribute("d")))
    page.locator("label", has_text="Published figures").click()
    expect(page.locator(f"{CHART} .role-legend-label text", has_text="published (italic)")).to_be_visible()
    expect(page).to_have_url(re.compile("published=true"))
    printed = page.locator(f"{CHART} .mark-symbol path[aria-label*='published, not measured here: DINOv2']")
    # The layer of the board comes first: the methods of Table 6.
    expect(printed).to_have_count(6)
    expect(every).to_have_count(before + 6)
    assert set(printed.evaluate_all("all => all.map(path => path.getAttribute('fill-opacity'))")) == {"0"}
    expect(steps).to_have_count(1)
    assert len(re.findall("[LHV]", steps.get_attribute("d"))) == corners
    # A hollow mark opens nothing.
    printed.first.click(force=True)
    page.wait_for_timeout(1000)
    expect(page).to_have_url(re.compile("focus=none"))


@pytest.mark.parametrize("width", [700, 1280, 1440])
@pytest.mark.parametrize("query", ["", "?flagged=true&virtual=true&x=agreement"])
def test_names_in_the_chart_lie_neither_on_one_another_nor_outside(
    browser: Any, flagged_address: str, width: int, query: str
) -> None:
    with visiting(browser, flagged_address, width=width, height=720) as visit:
        page = visit.open(query)
        mark(page, "good")
        (plot,) = boxes(page, CHART)
        names = boxes(page, f"{CHART} .mark-text.role-mark text")
        assert len(names) >= 6
        for number, box in enumerate(names):
            assert plot["left"] <= box["left"] and box["right"] <= plot["right"]
            for other in names[:number]:
                apart = box["right"] <= other["left"] or other["right"] <= box["left"]
                # A line of text has room above and below its letters.
                assert apart or box["bottom"] <= other["top"] + 3 or other["bottom"] <= box["top"] + 3
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_hidden_rows_are_named_and_shown_on_request(browser: Any, flagged_address: str) -> None:
    with visiting(browser, flagged_address) as visit:
        page = visit.open("")
        mark(page, "good")
        line = "3 rows hidden: copies (collapsed), broken net (below floor), "
        line += "guesses (at chance: not above its random control)."
        expect(page.get_by_text(line)).to_be_visible()
        # One seed is no reason to hide a row; it is hollow.
        expect(mark(page, "single [one seed]")).to_have_attribute("fill-opacity", "0")
        page.get_by_role("button", name="Show", exact=True).click()
        mark(page, "copies [collapsed]")
        expect(page).to_have_url(re.compile("flagged=true"))
        expect(page.get_by_text(line)).to_have_count(0)
        page.goto(page.url)
        mark(page, "copies [collapsed]")


def test_the_link_and_the_files_hold_what_is_on_the_page(visit: Visit) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.open("?x=latency_ms&focus=topk_sae-42")
    mark(page, "ELUDe")
    page.get_by_role("button", name="Copy the address").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == page.url and "x=latency_ms" in copied and "focus=topk_sae-42" in copied
    saved = {ending: download(page, ending) for ending in ("CSV", "SVG", "PNG")}
    header, *lines = saved["CSV"].decode().splitlines()
    assert header.startswith("method,group,flags,seeds,expansion_factor,ms_score (%),ms_score (%) 95 % low,")
    assert "latency_ms (ms) lowest seed,latency_ms (ms) highest seed" in header
    assert [line.split(",")[0] for line in lines if line.startswith(("ELUDe", "TopK"))] == ["ELUDe", "TopK SAE"]
    assert any(line.startswith(csv_cell(DROP)) for line in lines)
    assert saved["SVG"].startswith(b"<svg") and b"ELUDe" in saved["SVG"]
    assert saved["PNG"].startswith(b"\x89PNG") and len(saved["PNG"]) > 10_000


def download(page: Any, ending: str) -> bytes:
    with page.expect_download() as waiting:
        page.locator(".st-key-front_share button", has_text=ending).click()
    assert waiting.value.suggested_filename == f"front.{ending.lower()}"
    return Path(waiting.value.path()).read_bytes()


def test_terms_are_defined_on_the_page(visit: Visit) -> None:
    page = visit.open("")
    mark(page, "ELUDe")
    text = "MS score: mean similarity of the images that activate a unit most. R2: share of the variance"
    expect(page.locator(".st-key-front_meanings")).to_contain_text(text)
    page.locator(".st-key-front_headline [data-testid=stTooltipHoverTarget]").hover()
    terms = page.locator("[data-testid=stTooltipContent]")
    expect(terms).to_contain_text("accuracy: of the network with the reconstructed layer")


@pytest.mark.parametrize("width", [700, 390])
def test_narrow_windows_need_no_horizontal_scroll(browser: Any, address: str, width: int) -> None:
    with visiting(browser, address, width=width) as visit:
        page = visit.open("")
        mark(page, "ELUDe")
        (table,) = boxes(page, ".st-key-front_table table")
        assert table["right"] <= width and page.evaluate("() => document.documentElement.scrollWidth") <= width
        for box in boxes(page, ".st-key-front_table td:visible"):
            assert box["right"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_has_no_serious_findings(visit: Visit, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open("?published=true")
    mark(page, "ELUDe", published=True)
    visit.is_idle()
    visit.pictures()
    assert visit.serious_findings() == []


def boxes(page: Any, selector: str) -> list[dict[str, float]]:
    """Return the rectangles of the elements on the screen."""
    rectangles: list[dict[str, float]] = page.locator(selector).evaluate_all(
        "all => all.map(element => element.getBoundingClientRect().toJSON())"
    )
    return rectangles
