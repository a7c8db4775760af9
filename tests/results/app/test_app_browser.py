"""The app in a real browser: every page but the front, which has a file of its own; opt-in, `make test-browser`."""

from __future__ import annotations

import pytest
from app_store import DROP, SCRIPT

from results.app.titles import JOINER

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import CHART, Visit, expect, mark

pytestmark = pytest.mark.browser


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


def test_a_comparison_has_both_grids_and_what_each_judge_said(visit: Visit) -> None:
    page = visit.open("judges?tournament=tournament-1")
    # The pairs are in random order; all judges vote for ELUDe in both orders of this one.
    page.locator("a[href*='pair%2F0']", has_text="Grids and replies").click()
    expect(page.get_by_text("Consensus: 3 : 0, ELUDe")).to_be_visible()
    expect(page.get_by_text("Grid A: ELUDe")).to_be_visible()
    expect(page.get_by_text("Grid B: TopK SAE")).to_be_visible()
    grids = page.locator("[data-testid=stImage] img")
    expect(grids).to_have_count(2)
    visit.pictures()
    for judge in ("one", "two", "three"):
        expect(page.get_by_text(judge, exact=True)).to_be_visible()
    expect(page.get_by_text(f"A: {SCRIPT}", exact=True)).to_have_count(3)
    expect(page.get_by_text("B: stripes")).to_have_count(3)
    page.get_by_role("link", name="Same pair in the other order").click()
    expect(page.get_by_text("Consensus: 0 : 3, ELUDe")).to_be_visible()
