"""Compare in a real browser: the sentence, the forest plot, and the pairs of units."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import CHART, Visit, expect

pytestmark = pytest.mark.browser


def test_the_sentence_stands_above_the_plot_and_the_grids_below(visit: Visit) -> None:
    page = visit.open("compare?a=elude-42&b=identity-42")
    sentence = page.get_by_role("heading", name=re.compile(r"ELUDe has 20\.0 .* points more MS score than backbone"))
    expect(sentence).to_be_visible()
    points = page.locator(f"{CHART} .mark-symbol path[aria-label^='accuracy: ']")
    expect(points).to_have_count(1)
    assert points.get_attribute("aria-label").endswith("no significant difference")
    expect(page.locator(f"{CHART} .mark-text text", has_text=re.compile("^p [=<]")).first).to_be_visible()
    expect(page.get_by_role("heading", name="Gained: units where ELUDe is ahead")).to_be_visible()
    expect(page.get_by_role("heading", name="Lost: backbone only is ahead")).to_be_visible()
    assert sentence.bounding_box()["y"] < page.locator(CHART).first.bounding_box()["y"]
    visit.pictures()
    sides = page.locator("[data-testid=stImage] img")
    left, right = (sides.nth(number).bounding_box() for number in (0, 1))
    assert left["x"] + left["width"] <= right["x"] and abs(left["y"] - right["y"]) < 2
    # What is not tested is folded.
    expect(page.get_by_text(re.compile(r"quantities that are not tested, and why"))).to_be_visible()


def test_units_without_common_neurons_are_those_that_were_judged(visit: Visit) -> None:
    page = visit.open("compare?a=elude-42&b=topk_sae-42")
    expect(page.get_by_text("Votes 6 : 0")).to_be_visible()
    expect(page.get_by_text("proxy panel").first).to_be_visible()
    visit.pictures()
    page.get_by_role("link", name="Replies of the judges").first.click()
    visit.heading("Judges")
    expect(page.get_by_role("heading", name="Replies of the judges")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("pair", ["a=elude-42&b=identity-42", "a=elude-42&b=topk_sae-42"])
def test_compare_is_accessible(visit: Visit, scheme: str, pair: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open(f"compare?{pair}")
    expect(page.get_by_role("heading", name=re.compile("^Lost: "))).to_be_visible()
    visit.pictures()
    expect(page.locator("[data-testid=stApp]")).to_have_attribute("data-test-script-state", "notRunning")
    assert visit.serious_findings() == []


@pytest.mark.parametrize("width", [700, 1280])
def test_nothing_is_wider_than_the_page(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    page = visit.open("compare?a=elude-42&b=identity-42")
    expect(page.get_by_role("heading", name=re.compile("^Lost: "))).to_be_visible()
    visit.pictures()
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("main => main.scrollWidth <= main.clientWidth")
