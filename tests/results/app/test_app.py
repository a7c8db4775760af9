"""Every page of the app opens, also on stores that are empty, missing, newer, in use or hostile; its command."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("streamlit")

from app_pages import PAGES, followed, opened, require_sound, show, store_in
from app_store import DROP, SCRIPT

from harness import cli
from harness.commands import app as verb
from harness.errors import UserError
from results import Store, open_store
from results.app import data
from results.app.data import PageStore
from results.app.pictures import strip
from results.app.titles import distinct, one_line, plain
from results.pictures.image_files import find
from results.pictures.tiles import PictureTile, Seen, seen_of
from results.views import View

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_in(tmp_path_factory.mktemp("app"))


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return show(store, monkeypatch)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_without_an_error(here: Store, page: str) -> None:
    for test in (opened(page), followed(page)):
        require_sound(test)
        assert len(test.title) == 1


def test_a_hostile_name_is_shown_and_harms_nothing(here: Store) -> None:
    test = opened("method", cell="mine-42")
    require_sound(test)
    assert test.title[0].value == plain(DROP)
    # The note is data in Markdown: every mark of it is escaped, and no element takes HTML.
    assert plain(SCRIPT) in test.info[0].value
    assert not any(element.allow_html for element in test.markdown)
    assert len(here.scores()) > 40
    # What streamlit would turn into other signs and pictures, escaped or not.
    assert plain("a -- b") == "a \N{WORD JOINER}\\-\\- b" and plain("a--b") == "a\\-\\-b"
    assert plain(":smile:") == "\\:\N{WORD JOINER}smile\\:" and plain("10:30") == "10\\:30"
    assert one_line("a\n b\t\u202ec") == "a b \\u202ec"


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_store_has_its_sentence(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = open_store(tmp_path / "empty.duckdb", read_only=False).path
    monkeypatch.setenv("HARNESS_STORE", str(path))
    test = opened(page)
    require_sound(test)
    assert "`harness" in test.info[0].value


def test_a_store_that_cannot_be_read_has_its_sentence(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tmp_path / "newer.duckdb"
    newer.write_bytes(store.path.read_bytes())
    with duckdb.connect(str(newer)) as connection:
        connection.execute("UPDATE meta SET schema_version = 99")
    other = tmp_path / "text.duckdb"
    other.write_text("no database")
    for path, words in (
        (tmp_path / "none.duckdb", "no results store"),
        (newer, "version 99"),
        (other, "not a results"),
    ):
        monkeypatch.setenv("HARNESS_STORE", str(path))
        # All pages read the store through one function: every page for one reason, one page for the others.
        for page in PAGES if path == other else PAGES[:1]:
            test = opened(page)
            assert [element.message for element in test.exception] == []
            assert words in test.error[0].value.replace("\\", "")


def test_a_store_that_is_being_written_has_its_sentence(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.store.connection.READ_PATIENCE_S", 0.2)
    busy = tmp_path / "busy.duckdb"
    busy.write_bytes(store.path.read_bytes())
    code = f"import duckdb, sys; c = duckdb.connect({str(busy)!r}); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        monkeypatch.setenv("HARNESS_STORE", str(busy))
        test = opened("front")
        assert [element.message for element in test.exception] == []
        assert "is writing to" in test.error[0].value
    finally:
        holder.communicate("")
    test.run()
    require_sound(test)


def test_the_boards_are_ready_before_the_first_page(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.duckdb"
    monkeypatch.setenv("HARNESS_STORE", str(path))
    # What is wrong with a store is said by its page, not by the server.
    data.prepare()
    path.write_bytes(store.path.read_bytes())
    data.prepare()
    monkeypatch.setattr(data, "leaderboard", lambda store: pytest.fail("the boards were made again"))
    test = opened("front")
    require_sound(test)
    assert test.get("vega_lite_chart")


def test_the_app_imports_neither_torch_nor_the_harness() -> None:
    pages = ", ".join(f"results.app.screens.{page}" for page in PAGES)
    code = (
        f"import results.app.main, results.app.downloads, {pages}, sys; "
        "print([name for name in ('torch', 'harness', 'methods', 'judges') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_name_that_leads_out_of_the_folder_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    places = [tmp_path / "images"]
    assert find("a.png", places) == tmp_path / "images" / "a.png"
    for name in ("../secret.png", str(tmp_path / "secret.png"), "a\0.png", "", None, "x" * 5000):
        assert find(name, places) is None


def test_the_place_of_the_maximum_is_outlined_where_the_token_lies(tmp_path: Path) -> None:
    import io

    from PIL import Image

    Image.new("RGB", (64, 64), (0, 0, 0)).save(tmp_path / "black.png")
    # Token 5 of a 4 x 4 layout: row 1, column 1, so between a quarter and a half in both directions.
    made = strip([PictureTile("black.png", 5)], [tmp_path], Seen(side=4), tile_px=80, columns=1)
    pixels = np.asarray(Image.open(io.BytesIO(made)).convert("RGB")).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1] < 100))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((18, 41, 18, 41), abs=2)
    assert seen_of({"evaluation": {"preprocessing": {"fit": "crop", "size": 28, "resize": 32}}}, 15) == Seen(
        View(share=0.875), side=4
    )
    assert seen_of(None, 16).side == 5
    assert seen_of({"evaluation": {"preprocessing": {"fit": "squash"}}}, None) == Seen(View("squash"))
    wide = {"fit": "squash_crop", "size": 27, "resize": 36}
    assert seen_of({"evaluation": {"preprocessing": wide}}, 15) == Seen(View("squash", 0.75), side=4)
    padded = {**wide, "fit": "border"}
    assert seen_of({"evaluation": {"preprocessing": padded}}, 15) == Seen(View("border", 0.75), side=4)


def test_the_verb_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verb.importlib.util, "find_spec", lambda name: None)
    found = CliRunner().invoke(cli.app, ["app"])
    assert isinstance(found.exception, UserError)
    assert "pip install 'disentanglement-harness[app]'" in str(found.exception)
    monkeypatch.undo()
    found = CliRunner().invoke(cli.app, ["app", "--images", str(tmp_path / "none")])
    assert isinstance(found.exception, UserError) and "--images" in str(found.exception)


def test_the_verb_refuses_a_port_in_use() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = CliRunner().invoke(cli.app, ["app", "--address", "127.0.0.1", "--port", str(port)])
    assert isinstance(found.exception, UserError) and f"--port {port + 1}" in str(found.exception)


def test_options_that_read_the_same_are_told_apart() -> None:
    assert distinct(["a", "b", "a", "a (2)", "a"]) == ["a", "b", "a (2)", "a (2) (2)", "a (3)"]


def test_a_page_keeps_the_store_open_and_lets_a_waiting_run_write(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "own.duckdb"
    path.write_bytes(store.path.read_bytes())
    opened_store = PageStore(path)
    count = "SELECT count(*) AS n FROM cells"
    before = int(opened_store.query(count)["n"][0])

    def write() -> None:
        with open_store(path, read_only=False).writing() as connection:
            connection.execute("DELETE FROM cells WHERE cell_id = 'mine-42'")

    writer = threading.Thread(target=write)
    writer.start()
    # The run has closed the turnstile and waits for the page; the page must not wait for the run.
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        assert int(opened_store.query(count)["n"][0]) == before
    assert writer.is_alive()
    opened_store.close()
    writer.join(30)
    assert not writer.is_alive()
    assert int(opened_store.query(count)["n"][0]) == before - 1
    opened_store.close()


def test_pages_are_named_in_the_navigation() -> None:
    from results.app.navigation import _TITLES

    # Vote is in the navigation only if there is a ballot (test_app_vote.py).
    assert tuple(name for name in _TITLES if name != "vote") == PAGES


def test_front_has_an_address_of_its_own() -> None:
    from streamlit.testing.v1 import AppTest

    script = """
import streamlit as st
from results.app import navigation
chosen = [*navigation.pages().values(), *navigation.hidden_pages()]
st.navigation(chosen, position="top")
st.text(" ".join(f"/{page.url_path}" for page in chosen if page.visibility == "visible"))
st.text(" ".join(f"/{page.url_path}" for page in chosen if page.visibility == "hidden"))
"""
    app = AppTest.from_string(script).run()
    assert not app.exception
    visible, hidden = (text.value for text in app.text)
    assert visible.split() == ["/", *(f"/{name}" for name in PAGES[1:])]
    assert hidden == "/vote /front"
