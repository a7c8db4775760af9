"""Concepts on the page of a unit: sentences of untrusted texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit")

from app_pages import opened, require_sound, show, store_in, texts

from results import open_store
from results.app.units.concepts import concept_sentence

ROW: dict[str, Any] = {"concept": "dogs", "balanced_accuracy": 0.9, "control": 0.45, "control_unit": 7}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "m calls it “dogs”, and finds that in other images with a balanced accuracy of 90 % (chance 50 %; 45 %",
        ),
        ({"control": None}, "of 90 % (chance 50 %)."),
        ({"balanced_accuracy": None}, "“dogs”; it gave too few valid answers"),
        ({"balanced_accuracy": float("nan")}, "too few valid answers"),
        ({"concept": None}, "m gave no valid name"),
        ({"concept": "a\u202eb"}, "\\u202e"),
    ],
)
def test_a_sentence_per_judge(changes: dict[str, Any], words: str) -> None:
    assert words in concept_sentence("m", {**ROW, **changes})


@pytest.mark.run
def test_the_page_of_a_unit_shows_the_concepts_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    with open_store(store.path, read_only=False).writing() as connection:
        for judge, concept in (("openai/a#1", "**dogs** :red[x]"), ("openai/b#1", None)):
            connection.execute(
                "INSERT INTO explanations (cell_id, unit, judge, prompt_version, images, concept, balanced_accuracy) "
                "VALUES ('elude-42', 4, ?, 'explain-1+detect-1', 8, ?, 0.8)",
                [judge, concept],
            )
    show(store, monkeypatch)
    test = opened("units", cell="elude-42", unit="4")
    require_sound(test)
    written = texts(test)
    assert "balanced accuracy of 80 %" in written.replace("\\", "") and "b gave no valid name" in written
    assert "**dogs**" not in written and "**dogs** :" in written.replace("\\", "").replace("\u2060", "")
    assert "balanced accuracy" not in texts(opened("units", cell="elude-42", unit="5")).replace("\\", "")
