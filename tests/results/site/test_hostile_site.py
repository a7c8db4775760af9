"""Sites of stores that somebody else made: every text is text, no text is a path, and sizes and times are bounded."""

from __future__ import annotations

import random
import time
from pathlib import Path

import duckdb
import pytest
from app_store import make_images, make_store
from hostile_stores import SECRET, Mutation, combined, hostile_store, mutations
from hostile_texts import hostile_texts
from site_pages import checked

from results import CellRecord, RunRecord, ScoreRecord, StoreError, open_store
from results.site import SiteOptions, write_site
from results.visible_text import visible

LIMIT_S = 60
LIMIT_BYTES = 20_000_000
ALL = [*mutations(), *combined()]
_SAMPLE_NAMES = (
    "view of file in place of cells",
    "cells.label: path",
    "every column of type JSON: a list of objects",
    "every column of type VARCHAR: markup",
    "every column of type VARCHAR: combining",
    "every column of type DOUBLE: 'Infinity'",
    "every column of type DOUBLE: 5e-324",
    "equal units",
)
SAMPLE = [mutation for mutation in ALL if mutation.name in _SAMPLE_NAMES]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    make_images(folder / "pictures")
    return make_store(folder / "results.duckdb").path


def check(source: Path, folder: Path, mutation: Mutation) -> None:
    path = hostile_store(source, folder / "hostile.duckdb", mutation)
    options = SiteOptions(units=2, images=source.parent / "pictures", licence="CC0")
    start = time.process_time()
    try:
        written = write_site([path], folder / "site", options)
    except StoreError as error:
        assert len(str(error)) < 2000
        assert not (folder / "site").exists()
        return
    assert not mutation.refused, mutation.name
    assert time.process_time() - start < LIMIT_S
    assert written.size < LIMIT_BYTES
    checked(written.path)
    for file in written.path.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("mutation", SAMPLE, ids=lambda mutation: mutation.name)
def test_a_sample(source: Path, tmp_path: Path, mutation: Mutation) -> None:
    check(source, tmp_path, mutation)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", list(combined()), ids=lambda mutation: mutation.name)
def test_every_value(source: Path, tmp_path: Path, mutation: Mutation) -> None:
    check(source, tmp_path, mutation)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", random.Random(20).sample(ALL, 60), ids=lambda mutation: mutation.name)
def test_a_larger_sample(source: Path, tmp_path: Path, mutation: Mutation) -> None:
    check(source, tmp_path, mutation)


@pytest.mark.slow
def test_hostile_texts_everywhere(tmp_path: Path) -> None:
    texts = hostile_texts(95)
    store = open_store(tmp_path / "texts.duckdb", read_only=False)
    store.start_run(RunRecord(run_id=texts[40], suite=texts[41], command=texts[42], device=texts[43]))
    for number, text in enumerate(texts):
        cell = CellRecord(
            **{"cell_id": f"{text}{number}", "status": "finished" if number % 3 else "failed", "run_id": texts[40]},
            **{"backbone": "vit", "backbone_title": texts[44], "site": texts[45], "dataset": texts[46]},
            **{"evaluation_fingerprint": "e", "probing_fingerprint": "p", "method": text, "label": text},
            **{"config": {text: text}, "token_seed": 1, "notes": [text], "device": text, "error_type": text},
            **{"error_message": text, "environment": {text: text}},
        )
        scores = [ScoreRecord(metric=name, value=0.5, unit="fraction") for name in ("ms_score", "r2")]
        scores.append(ScoreRecord(metric="m" + text, value=1.0, unit=text))
        store.record(cell, scores)
    written = write_site([store.path], tmp_path / "site", SiteOptions(title=texts[90], units=1))
    pages = checked(written.path)
    assert written.size < LIMIT_BYTES
    for page in pages.values():
        assert "".join(page.text.split()) == visible("".join(page.text.split()))


def test_names_of_images_do_not_lead_out_of_their_folder(source: Path, tmp_path: Path) -> None:
    pictures = make_images(tmp_path / "private")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "link.png").symlink_to(pictures / "00.png")
    store = tmp_path / "names.duckdb"
    store.write_bytes(source.read_bytes())
    names = ["../private/00.png", str(pictures / "00.png"), "link.png", "attribution.csv"]
    with duckdb.connect(str(store)) as opened:
        opened.execute('UPDATE images SET name = (?::VARCHAR[])["index" % 4 + 1]', [names])
    options = SiteOptions(units=12, images=tmp_path / "shared", licence="CC0", force=True)
    written = write_site([store], tmp_path / "site", options)
    assert "There are no images" in checked(written.path)["images.html"].text


def test_only_listed_photographs_count_as_shipped(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "photos.duckdb"
    store.write_bytes(source.read_bytes())
    with duckdb.connect(str(store)) as opened:
        opened.execute("UPDATE cells SET dataset = 'photos'")
        opened.execute(
            "UPDATE images SET name = CASE WHEN \"index\" = 0 THEN 'animal__alpaca.jpg' ELSE 'README.md' END"
        )
    written = write_site([store], tmp_path / "site", SiteOptions(units=12))
    pages = checked(written.path)
    assert "animal__alpaca.jpg" in pages["images.html"].text and "README.md" not in pages["images.html"].text
    assert (written.path / "licences" / "GPL-3.txt").is_file()
