"""Queries of the gallery against the same lists made with pandas."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("streamlit")

from app_store import EVALUATION, make_store

from results import Store, open_store
from results.app import queries, queries_units
from results.app.queries import records
from results.app.queries_units import FILTERS, NEAR_TOP, SORTS, UnitList
from results.store.class_labels import TOP, labelled

CELL = "elude-42"
EVERYTHING = UnitList(CELL, "identity-42", filters=(), fingerprint=EVALUATION)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("units") / "r.duckdb")


def _units(store: Store) -> pd.DataFrame:
    return store.units(CELL)


def test_units_are_sorted_with_undefined_scores_last(store: Store) -> None:
    frame = queries_units.unit_page(store, EVERYTHING._replace(sort="MS score, low first"), limit=50)
    scores = frame["ms_score"].astype(float).to_numpy()
    assert np.isnan(scores[-1]) and not np.isnan(scores[:-1]).any()
    assert list(scores[:-1]) == sorted(scores[:-1])
    for sort in SORTS:
        page = queries_units.unit_page(store, EVERYTHING._replace(sort=sort), limit=4)
        assert len(page) == 4 and set(page["total"]) == {12}


def test_the_gain_is_over_the_parent_in_backbone_only(store: Store) -> None:
    frame = queries_units.unit_page(store, EVERYTHING._replace(sort="number"), limit=50)
    parents = store.units("identity-42").set_index("unit")["ms_score"]
    for row in frame.to_dict("records"):
        score, parent = (_units(store)["ms_score"][row["unit"]], parents[row["parent"]])
        if np.isnan(score) or np.isnan(parent):
            assert row["gain"] is None or np.isnan(row["gain"])
        else:
            assert row["gain"] == pytest.approx(score - parent)


def test_gain_and_siblings_are_above_the_chance_level_of_each_unit(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "chance.duckdb"
    path.write_bytes(store.path.read_bytes())
    with open_store(path, read_only=False).writing() as connection:
        connection.execute("UPDATE units SET ms_score = 0.5, ms_score_token_null = 0.1")
        # At CLS, where all images are alike.
        connection.execute(
            f"UPDATE units SET ms_score = 0.9, ms_score_token_null = 0.85 WHERE cell_id = '{CELL}' AND unit = 4"
        )
    changed = open_store(path)
    frame = queries_units.unit_page(changed, EVERYTHING._replace(sort="gain over the parent, low first"), limit=50)
    gains = dict(zip(frame["unit"], frame["gain"], strict=True))
    assert frame["unit"].iloc[0] == 4 and gains[4] == pytest.approx(-0.35) and gains[5] == pytest.approx(0.0)
    assert [row["unit"] for row in queries.siblings(changed, CELL, 2, 4)] == [5, 4]


@pytest.mark.parametrize("name", FILTERS)
def test_filters_are_conditions_of_their_own(store: Store, name: str) -> None:
    units = EVERYTHING._replace(filters=(name,), favourites=(2, 3))
    expected = {
        "alive": set(range(12)) - {10},
        "CLS units": set(),
        "patch units": set(range(12)),
        "split units": set(range(12)),
        "with heat map": {0, 2, 4, 6, 8},
        "favourites": {2, 3},
    }
    assert set(queries_units.unit_page(store, units, limit=50)["unit"]) == expected[name]


def test_pages_and_places_follow_one_order(store: Store) -> None:
    units = EVERYTHING._replace(filters=("alive",))
    order = [
        unit
        for offset in range(0, 12, 5)
        for unit in queries_units.unit_page(store, units, limit=5, offset=offset)["unit"].tolist()
    ]
    assert sorted(order) == sorted(set(range(12)) - {10})
    for place, unit in enumerate(order):
        row = queries_units.unit_place(store, units, unit)
        assert row is not None and (row["place"], row["total"]) == (place + 1, 11)
        assert row["before"] == (order[place - 1] if place else None)
        assert row["after"] == (order[place + 1] if place + 1 < len(order) else None)
    assert queries_units.unit_place(store, units, 10) is None


@pytest.mark.parametrize("search", ["dog", "DOG", "7.png", "1"])
def test_a_search_counts_the_matching_images_on_which_the_unit_is_active(store: Store, search: str) -> None:
    frame = queries_units.unit_page(store, EVERYTHING._replace(search=search, sort="number"), limit=50)
    expected = {}
    for row in _units(store).to_dict("records"):
        names = [
            f"{'dog' if image % 2 else 'cat'} {image:02d}.png"
            for image, value in zip(row["top_image"][:TOP], row["top_value"][:TOP], strict=True)
            if value > 0
        ]
        matches = sum(search.lower() in name for name in names)
        if matches or str(row["unit"]) == search:
            expected[row["unit"]] = matches
    assert dict(zip(frame["unit"], frame["matches"], strict=True)) == expected
    assert frame["matches"].tolist() == sorted(frame["matches"], reverse=True)


def test_a_label_is_the_commonest_class_of_the_active_top_images(store: Store) -> None:
    rows = records(labelled(store, CELL, range(12)))
    assert [row["unit"] for row in rows] == list(range(12))
    for row, unit in zip(rows, _units(store).to_dict("records"), strict=True):
        active = [
            image for image, value in zip(unit["top_image"][:TOP], unit["top_value"][:TOP], strict=True) if value > 0
        ]
        counts = Counter("dog" if image % 2 else "cat" for image in active)
        assert (row["class_name"], row["n"]) == counts.most_common(1)[0]
        assert row["n_active"] == len(active)


def test_the_nearest_units_share_most_top_images(store: Store) -> None:
    near = queries_units.near_units(store, CELL, 4, limit=3)
    tops = {
        unit: set(images[:NEAR_TOP])
        for unit, images in zip(_units(store)["unit"], _units(store)["top_image"], strict=True)
    }
    shared = {unit: len(tops[4] & images) for unit, images in tops.items() if unit not in (4, 10)}
    best = sorted(shared, key=lambda unit: (-shared[unit], unit))[:3]
    assert [(row["unit"], row["shared"]) for row in near] == [(unit, shared[unit]) for unit in best]
    assert queries_units.near_units(store, CELL, 99) == []


def test_an_older_store_tells_cls_units_from_their_positions(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "older.duckdb"
    path.write_bytes(store.path.read_bytes())
    older = open_store(path, read_only=False)
    with older.writing() as connection:
        connection.execute("UPDATE units SET top_position = [-1, -1, 3] WHERE cell_id = ? AND unit = 2", [CELL])
        connection.execute(
            "UPDATE units SET prefix_share = 'nan', top_position = [] WHERE cell_id = ? AND unit = 3", [CELL]
        )
    units = EVERYTHING._replace(filters=("CLS units",))
    assert queries_units.unit_page(older, units, limit=50)["unit"].tolist() == [2]


def test_equal_units_are_not_multiplied(tmp_path: Path) -> None:
    """A store from anyone can have one unit a million times; a join of them with themselves would not end."""
    store = make_store(tmp_path / "r.duckdb")
    with open_store(store.path, read_only=False).writing() as opened:
        opened.execute("INSERT INTO units SELECT u.* FROM units u, range(20000) WHERE unit = 0")
    assert len(queries_units.unit_page(store, EVERYTHING._replace(sort="number", search="dog"), limit=10)) == 10
    assert queries_units.unit_place(store, EVERYTHING, 0) is not None
    assert len(queries_units.near_units(store, CELL, 4, limit=3)) == 3
    assert len(labelled(store, CELL, [0, 1])) == 2
    assert queries.unit_by_number(store, CELL, 0) is not None
    assert len(queries.siblings(store, CELL, 0, 0, limit=4)) <= 5


def test_classes_are_counted_in_the_whole_set(store: Store) -> None:
    assert queries_units.class_counts(store, EVALUATION) == {"cat": 10, "dog": 10}
    assert queries_units.class_counts(store, None) == {}
