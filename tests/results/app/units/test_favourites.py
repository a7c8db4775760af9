"""Favourites as CSV: every unit with its label and scores, and no formula in any cell."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

pytest.importorskip("streamlit")

from app_store import make_store

from results import open_store
from results.app.units.favourites import csv_text


def test_the_csv_has_each_favourite_with_its_label(tmp_path: Path) -> None:
    store = make_store(tmp_path / "r.duckdb")
    with open_store(store.path, read_only=False).writing() as connection:
        connection.execute("UPDATE images SET class_name = '=HYPERLINK(1)'")
    rows = list(csv.DictReader(io.StringIO(csv_text(store, {"elude-42": [3, 1, 999], "topk_sae-42": [2], "x": []}))))
    assert [(row["cell_id"], row["unit"]) for row in rows] == [
        ("elude-42", "1"),
        ("elude-42", "3"),
        ("topk_sae-42", "2"),
    ]
    assert rows[0]["method"] == "ELUDe" and rows[0]["label"] == "'=HYPERLINK(1) (9 of 9 images)"
    assert float(rows[0]["ms_score"]) == pytest.approx(float(store.units("elude-42")["ms_score"][1]))
    assert rows[0]["ms_score_token_null"] == ""
