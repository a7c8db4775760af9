"""Concept labels on the page Units: tiles, a unit's page, and the search for words of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit")

import app_pages
from app_pages import opened, require_sound, show, store_in
from app_store import SCRIPT
from labelled_store import add_labels
from streamlit.testing.v1 import AppTest

from results import Store, open_store
from results.app import queries_units
from results.app.queries_units import UnitList
from results.app.units.concept_labels import ConceptLabel, label_command, label_line, label_sentences

CELL = "elude-42"
DOG = ConceptLabel("clip", 1, "golden retriever", 3.0, 1.5, 0.005)

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = store_in(tmp_path_factory.mktemp("app"))
    add_labels(store, CELL, {0: ["old dog"], 9: ["old dog"]}, labelling="old")
    add_labels(
        store,
        CELL,
        {0: ["Golden Retriever", "puppy"], 1: ["retriever"], 2: ["gold ring", "golden retriever"], 3: ["100 %_"]},
        p_values={1: 0.4},
        days=1,
    )
    add_labels(store, CELL, {1: ["dog"], 4: [SCRIPT], 5: ["golden cat"]}, scorer="classes", p_values={5: 0.051})
    return store


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return show(store, monkeypatch)


def texts(test: AppTest) -> str:
    return app_pages.texts(test).replace("\\", "")


def found(store: Store, words: str, **changes: Any) -> list[int]:
    units = UnitList(CELL, None, sort="number", filters=(), concept=words)._replace(**changes)
    return list(queries_units.unit_page(store, units, limit=50)["unit"])


@pytest.mark.parametrize(
    ("words", "units"),
    [
        ("golden", [0, 5]),
        ("GOLDEN retr", [0]),
        ("retriever", [0, 1]),
        ("retriever golden", [0]),
        ("puppy", []),
        ("dog", [1]),
        ("100 %_", [3]),
        ("%", [3]),
        ("_", [3]),
        ("'; DROP TABLE unit_labels; --", []),
        ("<script>", [4]),
    ],
)
def test_a_search_compares_all_words_with_the_newest_best_labels(store: Store, words: str, units: list[int]) -> None:
    assert found(store, words) == units


def test_labels_above_the_null_come_first_in_every_order_and_other_filters_hold(store: Store) -> None:
    # Unit 1 is above its null by the scorer classes, but not by the label with these words.
    assert found(store, "retriever", sort="MS score, low first")[0] == 0
    assert found(store, "golden", sort="MS score, high first")[0] == 0
    assert found(store, "golden", search="5") == [5]
    assert found(store, "golden", filters=("CLS units",)) == []
    units = UnitList(CELL, None, sort="number", filters=(), concept="golden")
    assert queries_units.unit_place(store, units, 5) == {"unit": 5, "place": 2, "total": 2, "before": 0, "after": None}


def test_a_tile_has_the_newest_label_of_each_scorer_with_its_score_and_null(here: Store) -> None:
    test = opened("units", cell=CELL)
    require_sound(test)
    written = texts(test)
    assert "clip: **Golden Retriever** 3.00 (null 1.50, p 0.005)" in written and "old dog" not in written
    assert ":small[:gray[clip: retriever 3.00 (null 1.50, p 0.4), not above the null]]" in written
    assert "classes: **dog**" in written and "puppy" not in written


def test_a_units_page_has_its_ranked_labels(here: Store) -> None:
    test = opened("units", cell=CELL, unit="2")
    require_sound(test)
    assert "clip labels it **gold ring** 3.00 (null 1.50, p 0.005). :small[2. golden retriever 2.00]" in texts(test)
    at_chance = texts(opened("units", cell=CELL, unit="1"))
    assert "clip: no label above the null. The best one is :gray-badge[retriever]" in at_chance


def test_the_box_searches_and_the_address_holds_the_words(here: Store) -> None:
    test = opened("units", cell=CELL)
    (box,) = [box for box in test.text_input if box.label == "Concept label"]
    box.set_value("golden").run()
    require_sound(test)
    assert test.query_params["concept"] == "golden"
    assert "2 with a label such as “golden”, labels above the null first" in texts(test)
    single = opened("units", cell=CELL, unit="0", concept="golden")
    assert "1 of 2 by" in texts(single)


def test_without_a_match_or_labels_the_page_says_what_to_do(here: Store) -> None:
    assert "No unit in this list has a label with “zebra”" in texts(opened("units", cell=CELL, concept="zebra"))
    test = opened("units", cell="topk_sae-42", concept="dog")
    require_sound(test)
    command = "harness label --suite demo --cell topk_sae-42 --store results.duckdb"
    assert f"no concept labels yet. Name them with `{command}`" in texts(test)
    assert f"`{command}` names the units" in texts(opened("units", cell="topk_sae-42"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE unit_labels SET score = 'nan', null_score = NULL, p_value = 'nan'",
        "UPDATE unit_labels SET label = '](http://example.org) <b>' || repeat('x', 5000)",
        "UPDATE unit_labels SET label = '', rank = -1",
        "UPDATE labellings SET scorer = chr(27) || repeat('long ', 500)",
        "INSERT INTO unit_labels SELECT u.* FROM unit_labels u, range(30)",
        "UPDATE cells SET suite = '`; rm -rf ~; `'",
        "DELETE FROM labellings",
    ],
)
def test_odd_labels_are_shown_without_an_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    path = tmp_path / "results.duckdb"
    path.write_bytes(store.path.read_bytes())
    with open_store(path, read_only=False).writing() as connection:
        connection.execute(statement)
    show(open_store(path), monkeypatch)
    for parameters in ({}, {"unit": "0"}, {"concept": "golden"}, {"concept": "none at all"}):
        test = opened("units", cell=CELL, **parameters)
        require_sound(test)
        assert "rm -rf" not in texts(test) and "x" * 60 not in texts(test)


@pytest.mark.parametrize(
    ("changes", "is_above"),
    [({}, True), ({"p_value": 0.05}, True), ({"p_value": 0.051}, False), ({"p_value": None}, False)],
)
def test_a_label_counts_up_to_the_level(changes: dict[str, Any], is_above: bool) -> None:
    label = DOG._replace(**changes)
    assert label.is_above_null is is_above and ("not above the null" not in label_line(label)) is is_above


def test_labels_without_numbers_have_none() -> None:
    label = DOG._replace(score=float("nan"), null_score=None, p_value=None)
    assert label_sentences([label])[0].endswith(r":gray-badge[golden retriever] –.")
    assert label_sentences([]) == []


@pytest.mark.parametrize("suite", [None, "", "a b", "`x`", "-x", "x" * 100])
def test_the_command_has_no_text_that_could_end_it(suite: str | None) -> None:
    command = label_command({"suite": suite, "cell_id": "a; b"}, Path("x`y\n.duckdb"))
    assert command == "harness label --suite demo --cell ID --store xy .duckdb"
