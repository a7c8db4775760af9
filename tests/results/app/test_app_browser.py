"""The app in a real browser, from the front to a unit's pictures: opt-in, `make test-browser`."""

from __future__ import annotations

import re
from typing import Any

import pytest
from app_store import DROP, SCRIPT

from results.app.titles import JOINER

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import CHART, Visit, axis_is, choose, expect, mark

pytestmark = pytest.mark.browser


def test_from_the_front_to_a_units_pictures(visit: Visit) -> None:
    page = visit.open("")
    visit.heading("Pareto front")
    axis_is(page, "R2 (%), higher is better ↑")
    # Twice: a choice must not be lost because the one before is in the address.
    choose(page, "Horizontal axis", "latency")
    axis_is(page, "latency (ms), lower is better ↓")
    choose(page, "Horizontal axis", "R2")
    axis_is(page, "R2 (%), higher is better ↑")
    expect(page).to_have_url(re.compile("x=r2"))
    mark(page, "ELUDe").click()
    visit.heading("ELUDe")
    expect(page).to_have_url(re.compile(r"/method\?.*cell=elude-"))
    page.get_by_role("link", name="Units of this method").click()
    visit.heading("Units")
    visit.pictures()
    # The name of a link may begin with that of its icon.
    page.get_by_role("link", name=re.compile(r"\bUnit 3$")).click()
    expect(page.get_by_role("heading", name="Unit 3")).to_be_visible()
    expect(page.get_by_text("Parent: original unit 1")).to_be_visible()
    visit.pictures()
    expect(page).to_have_url(re.compile(r"/units\?(?=.*unit=3)(?=.*cell=elude-42)"))
    page.goto(page.url)
    expect(page.get_by_role("heading", name="Unit 3")).to_be_visible()
    visit.pictures()


def test_strangers_texts_are_shown_as_they_are(visit: Visit) -> None:
    page = visit.open("judges?tournament=tournament-1&pair=pair/0&order=1")
    visit.heading("Judges")
    expect(page.get_by_text(f"A: {SCRIPT}", exact=True)).to_have_count(3)
    assert page.locator("script", has_text="alert(1)").count() == 0
    visit.pictures()
    page = visit.open("method?cell=mine-42")
    # A word joiner, which has no width, keeps the two hyphens from becoming a dash.
    visit.heading(DROP.replace("--", f"{JOINER}--"))
    expect(page.get_by_text(SCRIPT).first).to_be_visible()
    page = visit.open("")
    expect(page.locator(f"{CHART} .mark-text text", has_text=DROP)).to_have_count(1)
    mark(page, DROP).hover()
    expect(page.locator("#vg-tooltip-element h2")).to_have_text(DROP)
    page = visit.open("runs")
    expect(page.get_by_text("broken SAE on A ViT", exact=False)).to_be_visible()


@pytest.mark.parametrize("path", ["", "leaderboard", "method", "units", "compare", "judges", "runs"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens_without_a_word_of_complaint(visit: Visit, path: str, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open(path)
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator("[data-testid=stApp]")).to_have_attribute("data-test-script-state", "notRunning")
    # What is written is legible on what is behind it: contrast as in WCAG 2, 4.5 at least.
    colours = page.evaluate(
        "() => [getComputedStyle(document.querySelector('h1')).color, "
        "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor]"
    )
    light, dark = sorted((_luminance(colour) for colour in colours), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 4.5
    assert (_luminance(colours[1]) > 0.5) == (scheme == "light")


def _luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)``, WCAG 2.2."""
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : colour.index(")")].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_front_is_reached_and_left_with_the_keyboard(visit: Visit) -> None:
    page = visit.open("")
    expect(page.locator(f"{CHART} .mark-symbol path").first).to_be_attached()
    # Axes: type into the box, and take what is found.
    page.locator("[data-testid=stSelectbox]").filter(has_text="Horizontal axis").locator("input").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.type("latency")
    page.keyboard.press("Enter")
    axis_is(page, "latency (ms), lower is better ↓")
    # Methods: the links under the table, which come after everything else in the order of the tab key.
    for _ in range(150):
        page.keyboard.press("Tab")
        tag, text = page.evaluate("() => [document.activeElement.tagName, document.activeElement.innerText]")
        if tag == "A" and text.split()[-1:] == ["ELUDe"]:
            break
    else:
        raise AssertionError("no link to ELUDe is reached with the tab key")
    page.keyboard.press("Enter")
    visit.heading("ELUDe")


def numbers(page: Any, selector: str) -> list[list[float]]:
    """The places of what is drawn, as it is drawn."""
    return [[own[side] for side in ("x", "y", "width", "height")] for own in _boxes(page, selector)]


def _boxes(page: Any, selector: str) -> list[dict[str, float]]:
    return page.locator(selector).evaluate_all("all => all.map(own => own.getBoundingClientRect().toJSON())")


def test_the_way_back_from_a_mark_leads_to_the_front_again(visit: Visit) -> None:
    page = visit.open("")
    mark(page, "TopK SAE").click()
    visit.heading("TopK SAE")
    page.get_by_role("link", name=re.compile("Front$")).click()
    visit.heading("Pareto front")
    # The click from before is over: the page stays, and another one counts.
    mark(page, "ELUDe")
    visit.heading("Pareto front")
    page.locator(f"{CHART} .mark-text text", has_text="ELUDe").click()
    visit.heading("ELUDe")
    page.go_back()
    visit.heading("Pareto front")
    mark(page, "ELUDe").click()
    visit.heading("ELUDe")


def test_published_marks_are_hollow_and_the_line_stays(visit: Visit) -> None:
    page = visit.open("?x=accuracy")
    mark(page, "ELUDe")
    names = "all => all.map(own => own.getAttribute('aria-label').split(':')[0])"
    every = page.locator(f"{CHART} .mark-symbol path[aria-label*=': MS score']")
    measured = every.evaluate_all(names)
    steps = page.locator(f"{CHART} .mark-line path")
    expect(steps).to_have_count(1)
    # Corners of the staircase: a move, and what follows.
    corners = len(re.findall("[LHV]", steps.get_attribute("d")))
    page.locator("label", has_text="Published figures, hollow").click()
    expect(page.locator(f"{CHART} .role-legend-label text", has_text="published, not measured here")).to_be_visible()
    expect(every).to_have_count(len(measured) + 10)
    printed = page.locator(f"{CHART} .mark-symbol path[aria-label*='published, not measured here']")
    expect(printed).to_have_count(10)
    assert set(printed.evaluate_all("all => all.map(own => own.getAttribute('fill-opacity'))")) == {"0"}
    filled = "all => all.filter(own => own.getAttribute('fill-opacity') !== '0').length"
    assert every.evaluate_all(filled) == len(measured)
    expect(steps).to_have_count(1)
    assert len(re.findall("[LHV]", steps.get_attribute("d"))) == corners
    # A hollow mark opens nothing.
    printed.first.click()
    page.wait_for_timeout(1500)
    visit.heading("Pareto front")


@pytest.mark.parametrize("width", [700, 1280])
def test_names_in_the_chart_lie_neither_on_one_another_nor_outside(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    page = visit.open("")
    mark(page, "ELUDe")
    (plot,) = _boxes(page, CHART)
    names = _boxes(page, f"{CHART} .mark-text.role-mark text")
    assert len(names) == 4
    for number, own in enumerate(names):
        assert plot["left"] <= own["left"] and own["right"] <= plot["right"]
        for other in names[:number]:
            apart = own["right"] <= other["left"] or other["right"] <= own["left"]
            # A line of text has room above and below its letters.
            assert apart or own["bottom"] <= other["top"] + 3 or other["bottom"] <= own["top"] + 3


def test_a_comparison_has_both_grids_and_what_each_judge_said(visit: Visit) -> None:
    page = visit.open("judges?tournament=tournament-1")
    page.get_by_role("link", name="Grids and replies").first.click()
    expect(page.get_by_text("Consensus: 3 : 0, ELUDe")).to_be_visible()
    expect(page.get_by_text("Grid A: ELUDe")).to_be_visible()
    expect(page.get_by_text("Grid B: TopK SAE")).to_be_visible()
    grids = page.locator("[data-testid=stImage] img")
    expect(grids).to_have_count(2)
    visit.pictures()
    for judge in ("proxy/one#1", "proxy/two#2", "proxy/three#3"):
        expect(page.get_by_text(judge)).to_be_visible()
    expect(page.get_by_text(f"A: {SCRIPT}", exact=True)).to_have_count(3)
    expect(page.get_by_text("B: stripes")).to_have_count(3)
    page.get_by_role("link", name="Same pair in the other order").click()
    expect(page.get_by_text("Consensus: 0 : 3, ELUDe")).to_be_visible()


def test_the_aggregate_follows_its_sliders(visit: Visit) -> None:
    page = visit.open("leaderboard")
    page.get_by_text("Weighted aggregate").click()
    # The grid is a picture; what it shows stands in a table for screen readers.
    cell = page.locator("[data-testid=stDataFrame] table tbody tr").first
    expect(cell).to_contain_text("ELUDe")
    expect(cell).to_contain_text("0.752")
    slider = page.locator("input[type=range][aria-label='MS score']")
    slider.focus()
    page.keyboard.press("Home")
    # Of R2 1 and accuracy 0.8, with half a weight each.
    expect(cell).to_contain_text(re.compile(r"ELUDemethod0\.(9|8999)"))
