"""The page Units in a real browser: tiles, search, favourites, keyboard, enlarged pictures, accessibility."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import CHART, Visit, expect

pytestmark = pytest.mark.browser

LIST = "units?cell=elude-42"
UNIT = "units?cell=elude-42&unit=4&sort=number"


def test_a_tile_leads_to_its_unit_and_back_to_the_same_list(visit: Visit) -> None:
    page = visit.open(f"{LIST}&sort=number")
    visit.heading("Units")
    visit.pictures()
    page.get_by_role("link", name="Unit 3", exact=True).click()
    visit.heading(re.compile(r"^Unit 3 · (cat|dog) \(\d of 9 images\)$"))
    expect(page).to_have_url(re.compile(r"/units\?(?=.*unit=3)(?=.*cell=elude-42)(?=.*sort=number)"))
    visit.pictures()
    page.get_by_role("link", name="← all units").click()
    visit.heading("Units")
    expect(page.get_by_role("combobox", name="Sort by")).to_have_value("number")


def test_the_arrow_keys_go_through_the_units_but_not_while_a_control_has_them(visit: Visit) -> None:
    page = visit.open(UNIT)
    visit.is_idle()
    # The browser loads the code of a button later than the page is complete, and a key works from then on.
    expect(page.get_by_role("button", name="Next")).to_be_visible()
    page.locator("h1").click()
    # The heading is first on the page: each key is pressed while the rest of the page is of the unit before.
    for unit in (5, 6, 7, 8):
        page.keyboard.press("ArrowRight")
        visit.heading(re.compile(f"^Unit {unit}"))
    for unit in (7, 6, 5, 4):
        page.keyboard.press("ArrowLeft")
        visit.heading(re.compile(f"^Unit {unit}"))
    expect(page).to_have_url(re.compile("unit=4"))
    visit.is_idle()
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value("70")
    visit.is_idle()
    visit.heading(re.compile("^Unit 4"))


def test_a_click_on_an_image_enlarges_it(visit: Visit) -> None:
    page = visit.open(UNIT)
    visit.pictures()
    visit.is_idle()
    image_box = page.get_by_alt_text(re.compile("^2nd strongest image of unit 4: ")).bounding_box()
    page.mouse.click(image_box["x"] + image_box["width"] / 2, image_box["y"] + image_box["height"] / 2)
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("img")).to_have_attribute("alt", re.compile("^2nd strongest image of unit 4: .*enlarged$"))
    assert dialog.locator("img").bounding_box()["width"] > 400
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    # With the keyboard, and the same image again.
    for _ in range(2):
        page.get_by_role("button", name="Enlarge image 3").focus()
        page.keyboard.press("Enter")
        expect(dialog.locator("img")).to_have_attribute("alt", re.compile("^3rd strongest image"))
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)


def test_the_scores_of_the_first_tiles_are_in_the_first_screen(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 1280, "height": 720})
    page = visit.open(LIST)
    visit.pictures()
    visit.is_idle()
    scores = page.get_by_text(re.compile(r"^MS -?\d\.\d\d"))
    assert [scores.nth(number).bounding_box()["y"] < 450 for number in range(4)] == [True] * 4
    expect(page.get_by_text(re.compile("^MS: how alike"))).to_be_in_viewport()


def test_a_search_and_a_star_are_in_the_address(visit: Visit) -> None:
    page = visit.open(LIST)
    visit.pictures()
    box = page.get_by_role("searchbox", name="Search").or_(page.get_by_role("textbox", name="Search"))
    box.fill("dog")
    box.press("Enter")
    expect(page.get_by_text("most matching images first")).to_be_visible()
    expect(page).to_have_url(re.compile("find=dog"))
    page.get_by_role("button", name="Star", exact=False).first.click()
    expect(page.get_by_role("button", name="Starred")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"stars=\d+"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Favourites of this session (1) as CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "cell_id,method,unit,label,ms_score,ms_score_token_null" and len(lines) == 2
    assert lines[1].startswith("elude-42,ELUDe,")


@pytest.mark.parametrize("path", [LIST, UNIT])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(visit: Visit, path: str, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    visit.open(path)
    visit.pictures()
    visit.is_idle()
    if path == UNIT:
        expect(visit.page.locator(CHART).first).to_be_visible()
    assert visit.serious_findings() == []


@pytest.mark.parametrize("width", [700, 1280])
@pytest.mark.parametrize("path", [LIST, UNIT])
def test_nothing_is_wider_than_the_page(visit: Visit, path: str, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    page = visit.open(path)
    visit.pictures()
    visit.is_idle()
    sizes = page.evaluate("(e => [e.scrollWidth, e.clientWidth])(document.querySelector('[data-testid=stMain]'))")
    assert sizes[0] <= sizes[1]
    right = page.locator("[data-testid=stImage] img").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().right)"
    )
    assert max(right) <= width
