"""Judges in a real browser: a verdict per judge, and the pairs they were shown."""

from __future__ import annotations

import re

import pytest
from app_store import SCRIPT

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import Visit, expect

pytestmark = pytest.mark.browser


def test_each_judge_has_a_verdict_and_the_panel_its_badge(visit: Visit) -> None:
    page = visit.open("judges?tournament=tournament-1")
    agreement = page.get_by_role("heading", name=re.compile("The 3 judges cannot be told from random answers"))
    expect(agreement).to_be_visible()
    expect(page.get_by_text("proxy panel").first).to_be_visible()
    for judge in ("one", "two", "three"):
        expect(page.locator("strong", has_text=re.compile(f"^{judge}$"))).to_be_visible()
    expect(page.get_by_text("There is no other judge whose votes could confirm its own")).to_have_count(3)


def test_pairs_are_filtered_and_lead_to_the_replies(visit: Visit) -> None:
    page = visit.open("judges?tournament=tournament-1")
    expect(page.get_by_text("4 pairs, each shown in both orders", exact=False)).to_be_visible()
    page.get_by_test_id("stButtonGroup").get_by_text("judges disagree").click()
    expect(page.get_by_text("3 pairs, each shown in both orders", exact=False)).to_be_visible()
    expect(page).to_have_url(re.compile("show=judges"))
    images = page.locator("[data-testid=stImage] img")
    expect(images).to_have_count(6)
    visit.pictures()
    expect(page.get_by_text("ELUDe wins, 4 to 2").first).to_be_visible()
    expect(page.get_by_text("left: three, two · right: one").first).to_be_visible()
    page.get_by_role("link", name="Grids and replies").first.click()
    expect(page.get_by_role("heading", name="Replies of the judges")).to_be_visible()
    # Of this pair, one of three replies is missing.
    expect(page.get_by_text(f"A: {SCRIPT}", exact=True)).to_have_count(2)
    expect(page.get_by_text("No reply yet.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["judges?tournament=tournament-1", "judges?tournament=tournament-1&pair=pair/0"])
def test_judges_is_accessible(visit: Visit, scheme: str, path: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open(path)
    expect(page.locator("[data-testid=stImage] img").first).to_be_visible()
    visit.pictures()
    expect(page.locator("[data-testid=stApp]")).to_have_attribute("data-test-script-state", "notRunning")
    assert visit.serious_findings() == []


@pytest.mark.parametrize("width", [700, 1280])
def test_nothing_is_wider_than_the_page(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    page = visit.open("judges?tournament=tournament-1")
    expect(page.locator("[data-testid=stImage] img").first).to_be_visible()
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("main => main.scrollWidth <= main.clientWidth")
