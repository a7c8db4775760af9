"""Static site of a store: its pages, links, pictures and provenance; the same store gives the same bytes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from app_store import DROP, make_images, make_store
from flagged_store import make_store as make_flagged
from paths import ROOT
from site_pages import Page, checked

from results import StoreError, open_store
from results.site import SiteOptions, SiteSummary, write_site
from results.site.names import cell_name

LICENCE = "CC BY 4.0, Jane <Doe>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    return make_store(folder / "results.duckdb").path


@pytest.fixture(scope="module")
def options(folder: Path) -> SiteOptions:
    return SiteOptions(title="Our <board>", units=4, images=make_images(folder / "pictures"), licence=LICENCE)


@pytest.fixture(scope="module")
def written(folder: Path, store: Path, options: SiteOptions) -> SiteSummary:
    return write_site([store], folder / "site", options)


@pytest.fixture(scope="module")
def pages(written: SiteSummary) -> dict[str, Page]:
    return checked(written.path)


def contents(site: Path) -> dict[str, bytes]:
    return {file.relative_to(site).as_posix(): file.read_bytes() for file in site.rglob("*") if file.is_file()}


def page_of(pages: dict[str, Page], label: str) -> str:
    (path,) = (path for path, page in pages.items() if path.startswith(f"methods/{label}-"))
    return path


def test_every_page_is_well_formed_and_every_link_leads_to_a_file_of_the_site(pages: dict[str, Page]) -> None:
    names = {"index.html", "board.html", "runs.html", "images.html", "404.html", "methods/index.html"}
    assert names <= pages.keys()
    assert any(path.startswith("units/") and path != "units/index.html" for path in pages)
    assert all("Our <board>" in page.text for page in pages.values())


def test_files_name_no_other_address(written: SiteSummary) -> None:
    for path, content in contents(written.path).items():
        if path.endswith((".html", ".css", ".js")):
            text = content.decode()
            assert not re.search(r"(?i)(src|href|url\(|@import|fetch|XMLHttp)[^\n]{0,20}(https?:|//)", text), path
            assert "innerHTML" not in text and "eval(" not in text
    assert "url(" not in (written.path / "site.css").read_text()


def test_the_summary_says_what_was_written(written: SiteSummary) -> None:
    files = contents(written.path)
    assert (written.files, written.size) == (len(files), sum(map(len, files.values())))
    assert written.layers == 2 and written.rows == 6 and written.units > 0
    assert written.size < 2_000_000


def test_the_same_store_gives_the_same_bytes(
    folder: Path, store: Path, options: SiteOptions, written: SiteSummary
) -> None:
    again = write_site([store], folder / "again", options)
    assert contents(again.path) == contents(written.path)


def test_the_front_page_says_who_is_best(pages: dict[str, Page], written: SiteSummary) -> None:
    text = (written.path / "index.html").read_text()
    assert re.search(r"ELUDe is 10\S* points of MS score ahead of the best SAE, TopK SAE \(", pages["index.html"].text)
    assert "ELUDe vs the best SAE (TopK SAE)" in pages["index.html"].text
    assert text.count('class="front wide"') == text.count('class="front narrow"') == 1
    assert "MS score" in text and "ELUDe" in text
    # A layer of one row has no headline, and its title instead.
    assert "A CNN at" in pages["index.html"].text


def test_the_board_has_values_intervals_and_the_reason_for_a_failure(
    pages: dict[str, Page], written: SiteSummary
) -> None:
    text = (written.path / "board.html").read_text()
    assert 'data-v="0.605' not in text and 'data-v="60.5' in text
    assert 'class="bar"' in text and "DROP TABLE" in pages["board.html"].text
    assert "failed" in pages["board.html"].text
    assert "<script>alert" not in text.replace('<script src="', "")
    failed = pages[page_of(pages, "broken-sae")]
    assert "ValueError: <script>alert(1)</script>" in failed.text


def test_a_row_says_where_it_came_from(pages: dict[str, Page]) -> None:
    assert "run-1" in pages["runs.html"].text and "torch=2.9.0" in pages["runs.html"].text
    page = pages[page_of(pages, "elude")]
    for text in ("elude-42", "run-1", "2026-01-02", "cpu float32", "torch 2.9.0", "token seed 123"):
        assert text in page.text, text


def test_units_have_pictures_and_the_number_is_a_link(pages: dict[str, Page], written: SiteSummary) -> None:
    path = f"units/{cell_name('elude-42')}.html"
    page = pages[path]
    assert any(link.startswith(f"../img/{cell_name('elude-42')}-") for link in page.links)
    assert any(name.startswith("u") and f"#{name}" in page.links for name in page.ids)
    assert "Nearest here, by shared top images: unit" in page.text
    assert "Judged" in page.text and re.search(r"judged \d+ times", page.text) and "Typical" in page.text
    assert "dog" in page.text and "maxima at CLS" in page.text
    assert all(file.read_bytes()[8:12] == b"WEBP" for file in (written.path / "img").iterdir())


def test_images_of_a_folder_are_under_the_stated_licence(pages: dict[str, Page]) -> None:
    assert LICENCE in pages["images.html"].text


def test_images_need_a_licence(folder: Path, store: Path) -> None:
    with pytest.raises(StoreError, match="stated licence"):
        write_site([store], folder / "none", SiteOptions(images=folder / "pictures"))
    assert not (folder / "none").exists()


def test_without_permission_there_are_no_images(folder: Path, store: Path) -> None:
    written = write_site([store], folder / "plain", SiteOptions(units=3))
    assert "folder:pictures" in " ".join(written.notes)
    pages = checked(written.path)
    assert "not shown" in pages["images.html"].text
    # Activation maps alone show no image.
    assert all(path.name.endswith("-map.webp") for path in (written.path / "img").iterdir())


def test_links_stay_the_same_when_results_are_added(folder: Path, store: Path, pages: dict[str, Page]) -> None:
    more = folder / "more.duckdb"
    more.write_bytes(store.read_bytes())
    opened = open_store(more, read_only=False)
    opened.forget(["mine-42", "mine-123"])
    fewer = checked(write_site([more], folder / "fewer", SiteOptions(units=0)).path)
    methods = {path for path in pages if path.startswith("methods/")}
    assert {path for path in fewer if path.startswith("methods/")} < methods
    assert any("drop-table" in path for path in methods) and DROP


def test_several_stores_make_one_board_with_the_store_of_each_row(folder: Path, store: Path) -> None:
    second = folder / "second" / "flagged.duckdb"
    second.parent.mkdir()
    make_flagged(second)
    written = write_site([store, second], folder / "both", SiteOptions(units=0))
    pages = checked(written.path)
    assert written.layers == 3
    assert all(name in pages["runs.html"].text for name in ("results", "flagged"))
    text = (written.path / "board.html").read_text()
    assert re.search(r'<td data-label="Store"><a href="runs.html">flagged</a>', text)
    assert re.search(r'<td data-label="Store"><a href="runs.html">results</a>', text)
    assert 'class="flag"' in text


def test_rows_of_the_data_are_those_of_the_board(written: SiteSummary) -> None:
    boards = json.loads((written.path / "data" / "leaderboard.json").read_text())
    assert sum(len(board["rows"]) for board in boards) == written.rows
    assert len((written.path / "data" / "leaderboard.csv").read_text().splitlines()) == written.rows + 1


def test_an_empty_store_says_what_to_do(folder: Path) -> None:
    empty = open_store(folder / "empty.duckdb", read_only=False).path
    with pytest.raises(StoreError, match="harness run"):
        write_site([empty], folder / "nothing")
    assert not (folder / "nothing").exists()


def test_a_site_needs_neither_torch_nor_streamlit() -> None:
    code = "import sys, results.site; print([name for name in ('torch', 'streamlit', 'altair') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
