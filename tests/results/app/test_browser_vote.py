"""The page Vote in a real browser: votes by keyboard, resumed, undone, by two people, and taken into the store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import Visit, app_server, expect, visiting
from judging_store import make_store
from typer.testing import CliRunner

from harness import judging
from harness.cli import app
from harness.suites import load_suite
from results.people.ballot import ballot_ids, read_ballot
from results.people.standing import shuffled
from results.people.votes import read_votes

pytestmark = [pytest.mark.browser, pytest.mark.run]

GRIDS = ".st-key-vote_grids [data-testid=stImage] img"
CONTROLS = 2


class Place(NamedTuple):
    """A store with a ballot, and the app on it."""

    address: str
    folder: Path
    command: list[str]

    @property
    def tournament(self) -> str:
        (name,) = ballot_ids(self.folder)
        return name

    def actions(self, name: str) -> list[tuple[int, str]]:
        """Position of the question in the annotator's order and action, of each vote."""
        order = shuffled(read_ballot(self.folder, self.tournament), name)
        return [(order.index(vote.question), vote.action) for vote in read_votes(self.folder, name).votes]

    def judge(self) -> dict[str, Any]:
        result = CliRunner().invoke(app, [*self.command, "--json"])
        assert result.exit_code == 0, result.output
        data: dict[str, Any] = json.loads(result.stdout)
        return data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("voting")
    suite = folder / "own.toml"
    suite.write_text(
        f'name = "own"\n[seeds]\ntokens = [1]\n[data]\ndataset = "folder:{photo_folder}"\nevaluation = 40\n'
        '[[targets]]\nbackbone = "tiny_vit"\n[[methods]]\nname = "identity"\n[[methods]]\nname = "random_split"\n'
    )
    store = make_store(folder / "r.duckdb", judging.evaluation_images(load_suite(str(suite))), seeds=(1,))
    command = ["judge", "--suite", str(suite), "--store", str(store.path), "--panel", "people"]
    command += ["--pairs", "4", "--set", f"judging.controls={CONTROLS}"]
    Place("", folder, command).judge()
    with app_server(store.path, photo_folder, folder) as address:
        yield Place(address, folder, command)


@pytest.fixture
def visit(browser: Any, place: Place) -> Iterator[Visit]:
    with visiting(browser, place.address, height=720) as fresh:
        yield fresh


def is_at(visit: Visit, text: str) -> None:
    """Wait until the page shows this progress, its pictures, and buttons that react to keys."""
    expect(visit.page.get_by_text(text, exact=True)).to_be_visible()
    visit.is_idle()
    visit.pictures()
    expect(visit.page.get_by_role("button", name="Skip")).to_be_visible()


def test_people_vote_with_the_keyboard_and_the_votes_get_into_the_store(
    visit: Visit, browser: Any, place: Place
) -> None:
    page = visit.open(f"vote?tournament={place.tournament}")
    page.get_by_role("textbox", name="Your name").fill("Anna")
    page.keyboard.press("Enter")
    is_at(visit, "0 of 10")
    expect(page).to_have_url(re.compile(r"annotator=anna"))
    for number, key in enumerate("abt", start=1):
        page.keyboard.press(key)
        is_at(visit, f"{number} of 10")
    page.keyboard.press("s")
    is_at(visit, "3 of 10, 1 skipped")
    assert place.actions("anna") == [(0, "A"), (1, "B"), (2, "tie"), (3, "skip")]
    # Resumed in the same place after a reload.
    page.reload()
    is_at(visit, "3 of 10, 1 skipped")
    page.keyboard.press("u")
    is_at(visit, "3 of 10")
    page.keyboard.press("u")
    is_at(visit, "2 of 10")
    page.keyboard.press("a")
    is_at(visit, "3 of 10")
    assert place.actions("anna")[4:] == [(3, "undo"), (2, "undo"), (2, "A")]
    # A second person at the same time, with an order of their own.
    with visiting(browser, place.address, height=720) as other:
        other.open(f"vote?tournament={place.tournament}&annotator=ben")
        is_at(other, "0 of 10")
        for number in range(1, 11):
            other.page.keyboard.press("b")
            expect(other.page.get_by_text(f"{number} of 10", exact=True)).to_be_visible()
            if number < 10:
                is_at(other, f"{number} of 10")
        other.heading("All questions are answered")
    for number in range(4, 11):
        page.keyboard.press("a")
        expect(page.get_by_text(f"{number} of 10", exact=True)).to_be_visible()
        if number < 10:
            is_at(visit, f"{number} of 10")
    visit.heading("All questions are answered")
    data = place.judge()
    assert {row["annotator"]: (row["answered"], row["ties"]) for row in data["people"]} == {
        "anna": (10, 0),
        "ben": (10, 0),
    }
    assert data["contests"][0]["asked"] == 20
    (row,) = data["agreement"]
    # Ben voted B always, and Anna once.
    second = shuffled(read_ballot(place.folder, place.tournament), "anna")[1]
    n_same = int(second.grid_a != second.grid_b)
    assert row["n_questions"] == 8 and row["same"] == pytest.approx(n_same / 8)
    page = visit.open(f"judges?tournament={place.tournament}")
    expect(page.locator("strong", has_text=re.compile("^anna$"))).to_be_visible()
    table = page.get_by_test_id("stExpander").filter(has_text="Agreement of judges, people and all panels included")
    table.locator("summary").click()
    expect(table.get_by_test_id("stDataFrame")).to_be_visible()


def test_a_key_that_is_pressed_twice_votes_once(visit: Visit, place: Place) -> None:
    page = visit.open(f"vote?tournament={place.tournament}&annotator=hasty")
    is_at(visit, "0 of 10")
    page.keyboard.press("a")
    page.keyboard.press("a")
    page.keyboard.press("b")
    expect(page.get_by_text(re.compile("^[1-3] of 10$"))).to_be_visible()
    page.wait_for_timeout(1500)
    visit.is_idle()
    positions = [position for position, _ in place.actions("hasty")]
    # Each pair has one vote at most, and none was given before its pair was there.
    assert positions == list(range(len(positions)))
    expect(page.get_by_text(f"{len(positions)} of 10", exact=True)).to_be_visible()


def test_two_tabs_of_one_person_do_not_disturb_each_other(visit: Visit, browser: Any, place: Place) -> None:
    page = visit.open(f"vote?tournament={place.tournament}&annotator=cleo")
    is_at(visit, "0 of 10")
    with visiting(browser, place.address, height=720) as other:
        other.open(f"vote?tournament={place.tournament}&annotator=cleo")
        is_at(other, "0 of 10")
        page.keyboard.press("a")
        is_at(visit, "1 of 10")
        # The other tab still shows the first pair, which has a vote by now.
        other.page.keyboard.press("b")
        is_at(other, "1 of 10")
        other.page.keyboard.press("b")
        is_at(other, "2 of 10")
    assert place.actions("cleo") == [(0, "A"), (1, "B")]


def test_nothing_in_the_page_or_its_addresses_names_methods_cells_units_or_grids(visit: Visit, place: Place) -> None:
    addresses: list[str] = []
    visit.page.on("request", lambda request: addresses.append(request.url))
    page = visit.open(f"vote?tournament={place.tournament}&annotator=dora")
    is_at(visit, "0 of 10")
    ballot = read_ballot(place.folder, place.tournament)
    grids = {key for question in ballot.questions for key in (question.grid_a, question.grid_b)}
    alts = page.locator(GRIDS).evaluate_all("all => all.map(e => e.alt)")
    assert alts == ["Grid A: nine images.", "Grid B: nine images."]
    sent = page.content() + " ".join(addresses)
    words = [*grids, *(question.id for question in ballot.questions), "random_split", "identity-1", "identity_1"]
    assert [word for word in words if word in sent] == []
    assert not re.search(r"\bunit \d", sent) and "backbone only" not in sent


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1440, 900)])
def test_both_grids_and_all_buttons_fit_without_scrolling(visit: Visit, place: Place, width: int, height: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": height})
    page = visit.open(f"vote?tournament={place.tournament}&annotator=dora")
    is_at(visit, "0 of 10")
    boxes = [page.locator(GRIDS).nth(number).bounding_box() for number in range(2)]
    assert all(abs(box["width"] - box["height"]) < 2 and box["width"] > 0.55 * height for box in boxes)
    for name in ("Grid A", "Grid B", "Tie", "Skip", "Undo"):
        button = page.locator(".st-key-vote_buttons").get_by_role("button", name=re.compile(f"^{name}"))
        box = button.bounding_box()
        assert box["y"] + box["height"] <= height and box["y"] >= max(one["y"] + one["height"] for one in boxes)


def test_the_store_may_be_locked_by_a_run(visit: Visit, place: Place) -> None:
    from results import open_store

    with open_store(place.folder / "r.duckdb", read_only=False).writing():
        page = visit.open(f"vote?tournament={place.tournament}&annotator=emil")
        is_at(visit, "0 of 10")
        page.keyboard.press("a")
        is_at(visit, "1 of 10")
    assert place.actions("emil") == [(0, "A")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("parameters", ["", "&annotator=dora"])
def test_vote_is_accessible(visit: Visit, place: Place, scheme: str, parameters: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    visit.open(f"vote?tournament={place.tournament}{parameters}")
    visit.is_idle()
    if parameters:
        is_at(visit, "0 of 10")
    assert visit.serious_findings() == []


@pytest.mark.parametrize("width", [700, 1280])
def test_nothing_is_wider_than_the_page(visit: Visit, place: Place, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 720})
    page = visit.open(f"vote?tournament={place.tournament}&annotator=dora")
    is_at(visit, "0 of 10")
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("main => main.scrollWidth <= main.clientWidth")
