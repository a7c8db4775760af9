"""The page of a method in a real browser: the badge of a proxy panel, pooled units, width and accessibility."""

from __future__ import annotations

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import CHART, Visit, expect

pytestmark = pytest.mark.browser


def test_a_proxy_wears_its_badge_and_pooled_units_say_so(visit: Visit) -> None:
    page = visit.open("method?cell=topk_sae-42")
    visit.heading("TopK SAE")
    card = page.get_by_test_id("stMetric").filter(has_text="Win rate")
    expect(card).to_contain_text("proxy panel")
    expect(page.locator(f"{CHART} .role-legend-label text").first).to_contain_text("units of 2 seeds together")
    expect(page.get_by_text("The 2 seeds of the method are pooled")).to_be_visible()


@pytest.mark.parametrize("width", [400, 700, 1280])
def test_the_page_does_not_scroll_sideways(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    page = visit.open("method?cell=topk_sae-42")
    visit.heading("TopK SAE")
    visit.is_idle()
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("element => element.scrollWidth <= element.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(visit: Visit, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open("method?cell=topk_sae-42")
    visit.heading("TopK SAE")
    expect(page.get_by_test_id("stMetric").filter(has_text="MS score")).to_contain_text("50.5 %")
    visit.is_idle()
    # What streamlit draws again fades in.
    page.wait_for_timeout(1000)
    assert visit.serious_findings() == []
