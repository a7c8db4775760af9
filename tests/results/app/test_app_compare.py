"""The page Compare: the sentence, what is tested and what not, rows that cannot be compared, and units with maps."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("streamlit")

import app_pages
from app_pages import opened, require_sound, show, store_in
from streamlit.testing.v1 import AppTest

from results import Store, open_store
from results.app.queries_unit_pairs import has_chance, parents_compared
from results.app.titles import plain

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_in(tmp_path_factory.mktemp("app"))


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return show(store, monkeypatch)


def altered(store: Store, folder: Path, *statements: str) -> Store:
    """A copy of the store that SQL has changed."""
    path = folder / "results.duckdb"
    path.write_bytes(store.path.read_bytes())
    with open_store(path, read_only=False).writing() as connection:
        for statement in statements:
            connection.execute(statement)
    return open_store(path)


def texts(test: AppTest) -> str:
    """Everything that is written on a page, without the escapes of Markdown."""
    return app_pages.texts(test).replace("\\", "")


def test_the_sentence_the_numbers_and_the_units_of_common_neurons(here: Store) -> None:
    test = opened("compare", a="elude-42", b="identity-42")
    require_sound(test)
    frames = [frame.value.set_index("metric") for frame in test.dataframe]
    assert frames[0].loc["MS score", "A minus B"] == "+20.00"
    assert "p (Holm)" in frames[0] and "why not tested" in frames[1]
    assert frames[1].loc["latency", "why not tested"] == "no error is known"
    heading = test.header[0].value
    assert heading.startswith(plain("ELUDe has 20.0")) and plain("points more MS score than") in heading
    assert plain("Gained: units where ELUDe is ahead") in [element.value for element in test.subheader]
    written = texts(test)
    assert "Right of zero: A is better." in written and "Observed, not tested" not in written
    assert "MS score: mean similarity of the images" in written.replace("**", "")
    # Even units have maps, the others the frame.
    assert "Heat maps show where the unit is active" in written and "where no map is stored" in written


def test_units_without_common_neurons_are_those_that_were_judged(here: Store) -> None:
    test = opened("compare", a="elude-42", b="topk_sae-42")
    require_sound(test)
    written = texts(test)
    assert "clearest votes of the judges" in written and "proxy panel" in written and "Votes 6 : 0" in written
    unjudged = opened("compare", a="topk_sae-42", b="mine-42")
    require_sound(unjudged)
    assert "no panel has judged them" in texts(unjudged)


def test_rows_that_are_not_two_of_one_board_have_a_sentence_and_a_way_out(here: Store) -> None:
    other_layer = opened("compare", a="elude-42", b="identity-other")
    require_sound(other_layer)
    assert "A is on the layer A ViT, blocks.9.mlp.fc2, B on A CNN" in texts(other_layer)
    same = opened("compare", a="elude-42", b="elude-123")
    require_sound(same)
    assert "A and B are the same row" in texts(same)
    for test in (other_layer, same):
        assert not test.header
        assert [link.proto.label for link in test.get("page_link")] == [plain("Compare ELUDe with TopK SAE")]


def test_one_seed_is_observed_and_not_tested(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = "DELETE FROM {} WHERE cell_id = 'identity-123'"
    show(altered(store, tmp_path, *(drop.format(table) for table in ("scores", "units", "cells"))), monkeypatch)
    monkeypatch.setenv("HARNESS_IMAGES", str(store.path.parent / "pictures"))
    test = opened("compare", a="elude-42", b="identity-42")
    require_sound(test)
    written = texts(test)
    assert "One pair of seeds cannot tell whether ELUDe and backbone only [one seed] differ" in written
    assert "Observed, not tested: MS score" in written and "% of A against" in written
    assert "How to read the plot" not in [expander.label for expander in test.expander]
    assert "examples, not evidence" in written


def test_neurons_are_ranked_above_chance_so_that_cls_units_do_not_lead(store: Store, tmp_path: Path) -> None:
    cells = ("elude-42", "identity-42")
    assert not has_chance(store, cells)
    # One sub-unit of neuron 1 moves to CLS, where all images are alike.
    changed = altered(
        store,
        tmp_path,
        "UPDATE units SET ms_score_token_null = 0.1",
        "UPDATE units SET ms_score = 0.95, ms_score_token_null = 0.94 WHERE cell_id = 'elude-42' AND unit = 2",
    )
    assert has_chance(changed, cells)
    raw = {row["parent"]: row for row in parents_compared(changed, cells, above_chance=False, limit=9)}
    above = {
        row["parent"]: row
        for worst in (False, True)
        for row in parents_compared(changed, cells, above_chance=True, worst=worst, limit=9)
    }
    assert raw[1]["best_a"] == 2 and above[1]["best_a"] == 3
    assert above[1]["difference"] < raw[1]["difference"] - 0.3
    assert all(
        above[parent]["difference"] == pytest.approx(row["difference"]) for parent, row in raw.items() if parent != 1
    )
    # Either side has its own sign.
    assert all(row["difference"] > 0 for row in parents_compared(changed, cells, above_chance=True, limit=9))
    assert all(
        row["difference"] < 0 for row in parents_compared(changed, cells, above_chance=True, worst=True, limit=9)
    )
