"""Runs in a real browser: a run that goes on, its log, and cells that failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from app_store import SCRIPT, make_images, make_store

pytest.importorskip("streamlit")
pytest.importorskip("playwright.sync_api")
from browser import Visit, app_server, expect

from results import RunRecord
from results.store.liveness import alive

pytestmark = pytest.mark.browser

LINE = "2026-01-02 03:04:0{n} {n}/3 ELUDe: ms_score 50.00 % [elude-42]; about {left} min left\n"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log of the run that goes on, beside the store of the app."""
    folder = tmp_path_factory.mktemp("running")
    (folder / "logs").mkdir()
    return folder / "logs" / "living.log"


@pytest.fixture(scope="module")
def address(log: Path) -> Iterator[str]:
    """Address of the app on a store with a run that goes on."""
    folder = log.parent.parent
    store = make_store(folder / "results.duckdb")
    store.start_run(RunRecord(run_id="living", suite="living", n_planned=3, command="harness run --suite demo"))
    with alive(store.path, "living"), app_server(store.path, make_images(folder / "pictures"), folder) as running:
        yield running


def test_a_run_is_followed_without_a_click(visit: Visit, log: Path) -> None:
    log.write_text(LINE.format(n=1, left=9))
    page = visit.open("runs")
    expect(page.get_by_role("heading", name="living: cell 2 of 3, about 9 min left")).to_be_visible()
    with log.open("a") as opened:
        opened.write(f"2026-01-02 03:04:01 {SCRIPT}\n")
        opened.write(LINE.format(n=2, left=4))
    expect(page.get_by_role("heading", name="living: cell 3 of 3, about 4 min left")).to_be_visible()
    expect(page.get_by_text("2 of 3 cells done")).to_be_visible()
    # The log is text, whatever it says.
    expect(page.locator("code", has_text=f"03:04:01 {SCRIPT}")).to_be_visible()
    assert page.locator("script", has_text="alert(1)").count() == 0


def test_failed_cells_come_with_their_reason_and_command(visit: Visit) -> None:
    page = visit.open("runs")
    failed = page.get_by_role("heading", name="1 failed cell")
    expect(failed).to_be_visible()
    expect(page.get_by_text(f"ValueError: {SCRIPT}")).to_be_visible()
    expect(page.locator("code", has_text="harness run --suite demo").first).to_be_visible()
    every = page.get_by_role("heading", name="All runs")
    assert failed.bounding_box()["y"] < every.bounding_box()["y"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_runs_is_accessible(visit: Visit, log: Path, scheme: str) -> None:
    log.write_text(LINE.format(n=1, left=9))
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open("runs")
    expect(page.get_by_role("heading", name="All runs")).to_be_visible()
    expect(page.get_by_role("heading", name="living: cell 2 of 3, about 9 min left")).to_be_visible()
    # Streamlit fades what it is about to replace.
    page.get_by_test_id("stCheckbox").get_by_text("Live").click()
    visit.is_idle()
    assert visit.serious_findings() == []


@pytest.mark.parametrize("width", [700, 1280])
def test_nothing_is_wider_than_the_page(visit: Visit, log: Path, width: int) -> None:
    log.write_text(LINE.format(n=1, left=9))
    visit.page.set_viewport_size({"width": width, "height": 900})
    page = visit.open("runs")
    expect(page.get_by_role("heading", name="All runs")).to_be_visible()
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("main => main.scrollWidth <= main.clientWidth")
