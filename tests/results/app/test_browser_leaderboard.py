"""The leaderboard in a real browser: sorting, links, columns and sliders, by mouse and keyboard; accessibility."""

from __future__ import annotations

import re
from typing import Any

import pytest
from app_store import DROP

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import Visit, expect

pytestmark = pytest.mark.browser

TABLE = ".st-key-board table"
WEIGHTED = ".st-key-weighted table"


def names(page: Any, table: str = TABLE) -> list[str]:
    """Names of the methods from top to bottom."""
    return [str(name) for name in page.locator(f"{table} tr.row th.method a").all_inner_texts()]


def first_is(page: Any, name: str, table: str = TABLE) -> None:
    expect(page.locator(f"{table} tr.row th.method a").first).to_have_text(name)


def test_a_header_sorts_and_the_address_remembers_it(visit: Visit) -> None:
    page = visit.open("leaderboard")
    first_is(page, "ELUDe")
    expect(page.locator(f"{TABLE} th[aria-sort]")).to_contain_text("MS score")
    header = page.locator(TABLE).get_by_role("button", name="MS score")
    header.click()
    first_is(page, DROP)
    expect(page).to_have_url(re.compile("by=ms_score.*order=worst|order=worst.*by=ms_score"))
    expect(page.locator(f"{TABLE} th[aria-sort=ascending]")).to_have_count(1)
    # Controls and failed rows stay below.
    assert names(page) == [DROP, "TopK SAE", "ELUDe", "broken SAE", "backbone only"]
    page.goto(page.url)
    first_is(page, DROP)
    # With the keyboard; the focus stays on the header.
    header = page.locator(TABLE).get_by_role("button", name="Win rate")
    header.focus()
    page.keyboard.press("Enter")
    first_is(page, "ELUDe")
    expect(page.locator(f"{TABLE} th[aria-sort]")).to_contain_text("Win rate")
    expect(page.locator(TABLE).get_by_role("button", name="Win rate")).to_be_focused()
    page.go_back()
    expect(page.locator(f"{TABLE} th[aria-sort]")).to_contain_text("MS score")


def test_a_name_opens_the_method(visit: Visit) -> None:
    page = visit.open("leaderboard")
    link = page.locator(TABLE).get_by_role("link", name="TopK SAE")
    # A link like any other: it can be copied and opened in a new tab.
    expect(link).to_have_attribute("href", re.compile(r"^method\?cell=topk_sae-"))
    link.click()
    visit.heading("TopK SAE")
    expect(page).to_have_url(re.compile(r"/method\?.*cell=topk_sae-"))
    page.go_back()
    visit.heading("Leaderboard")
    page.locator(TABLE).get_by_role("link", name="ELUDe").focus()
    page.keyboard.press("Enter")
    visit.heading("ELUDe")
    visit.open("leaderboard")
    page.locator(WEIGHTED).get_by_role("link", name="TopK SAE").click()
    visit.heading("TopK SAE")


def test_columns_unfold_and_fold_again(visit: Visit) -> None:
    page = visit.open("leaderboard")
    headers = page.locator(f"{TABLE} tr.titles th.value")
    expect(headers).to_have_count(6)
    page.get_by_role("button", name="More columns").click()
    more = page.get_by_role("button", name="faithfulness +")
    more.click()
    expect(headers).to_have_count(7)
    expect(page.locator(TABLE).get_by_role("button", name="Accuracy")).to_be_visible()
    expect(page).to_have_url(re.compile("more=faithfulness"))
    more.click()
    expect(headers).to_have_count(6)
    expect(page).not_to_have_url(re.compile("more="))


def test_numbers_and_intervals_are_text(visit: Visit) -> None:
    page = visit.open("leaderboard")
    row = page.locator(f"{TABLE} tr.row", has_text="ELUDe")
    expect(row.locator("td.value").first).to_have_text(re.compile(r"★60\.5 \(\S+ to \S+\)"))
    expect(row.locator("td.value").first).to_have_attribute("title", re.compile("MS score: 60.5 %; 95 % interval"))
    expect(row.locator("svg[aria-hidden=true]").first).to_be_attached()
    assert page.locator(f"{TABLE} script").count() == 0


def test_the_weighted_score_follows_presets_and_sliders(visit: Visit) -> None:
    page = visit.open("leaderboard")
    score = page.locator(f"{WEIGHTED} tr.row", has_text="ELUDe").locator("td.value").first
    expect(score).to_contain_text("86.8")
    page.get_by_role("radio", name="interpretable").or_(page.get_by_role("button", name="interpretable")).last.click()
    expect(page).to_have_url(re.compile("weights=1.0%2C0.2%2C0.2|weights=1.0,0.2,0.2"))
    # (60.5 + 0.2 * 100 + 0.2 * 100) / 1.4
    expect(score).to_contain_text("71.8")
    slider = page.locator("input[type=range][aria-label='Weight of interpretability']")
    slider.focus()
    page.keyboard.press("Home")
    expect(score).to_contain_text("100")
    page.go_back()
    expect(score).to_contain_text("71.8")


def test_the_legend_and_the_first_rows_are_in_the_first_screen(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 1280, "height": 720})
    page = visit.open("leaderboard")
    first_is(page, "ELUDe")
    legend = page.locator(".st-key-board .legend li")
    expect(legend.first).to_contain_text("best without a flag")
    for place in (legend.last, page.locator(f"{TABLE} tr.row").nth(2)):
        box = place.bounding_box()
        assert box is not None and box["y"] + box["height"] < 720
    # Four pairs are too few for these judges to be told from random answers.
    expect(page.locator(f"{TABLE} th.value .badge")).to_have_text("proxy panel at chance")
    expect(page.locator(f"{TABLE} th.value .badge")).to_have_attribute("title", re.compile("not language models"))


def test_a_narrow_page_has_cards_if_the_columns_do_not_fit(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 700, "height": 900})
    page = visit.open("leaderboard?more=cost,faithfulness,other")
    first_is(page, "ELUDe")
    board = page.locator(".st-key-board .board")
    expect(board).to_have_class("board cards")
    assert board.evaluate("element => element.scrollWidth <= element.clientWidth")
    page.locator(TABLE).get_by_role("button", name="Win rate").click()
    expect(page).to_have_url(re.compile("by=win_rate"))
    # The same rows, and still a table for a screen reader.
    expect(page.get_by_role("row").filter(has_text="TopK SAE").first).to_be_visible()
    visit.is_idle()
    assert visit.serious_findings() == []
    page.set_viewport_size({"width": 1280, "height": 900})
    expect(board).to_have_class("board")


@pytest.mark.parametrize("width", [400, 700, 1280])
def test_the_page_does_not_scroll_sideways(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    page = visit.open("leaderboard?more=cost,faithfulness,other")
    first_is(page, "ELUDe")
    visit.is_idle()
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("element => element.scrollWidth <= element.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(visit: Visit, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open("leaderboard?more=faithfulness")
    first_is(page, "ELUDe")
    visit.is_idle()
    # What streamlit draws again fades in.
    page.wait_for_timeout(1000)
    assert visit.serious_findings() == []
