"""Lookup of a cell by its id, the first digits of it, or the name of its row."""

from __future__ import annotations

from typing import Any

import pytest

from results import StoreError
from results.store.find_cell import find_cell


def cell(cell_id: str, label: str = "ELUDe", **changes: Any) -> dict[str, Any]:
    fields = {"cell_id": cell_id, "label": label, "config_id": "c0ffee", "method": "elude", "status": "finished"}
    return fields | {"site": "fc", "token_seed": 42} | changes


CELLS = [
    cell("abcdef01"),
    cell("abcdff02", "TopK", method="topk_sae", config_id="d0d0"),
    cell("1234aaaa", "failed row", method="pca", config_id="e0e0", status="failed"),
]


@pytest.mark.parametrize(
    ("name", "cell_id"),
    [
        ("abcdef01", "abcdef01"),
        ("ABCDE", "abcdef01"),
        (" elude ", "abcdef01"),
        ("topk", "abcdff02"),
        ("topk_sae", "abcdff02"),
        ("d0d0", "abcdff02"),
        # A failed cell is found by its id only: the caller says what is wrong with it.
        ("1234", "1234aaaa"),
    ],
)
def test_a_cell_is_found(name: str, cell_id: str) -> None:
    assert find_cell(CELLS, name)["cell_id"] == cell_id


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("abcd", "'abcd' matches 2 cells: give the id of one of them. abcdef01 (ELUDe at fc, token seed 42); abcdff02"),
        ("abc", "There is no cell 'abc' in this store"),
        ("pca", "There is no cell 'pca' in this store"),
        ("ELUD", "Did you mean ELUDe?"),
    ],
)
def test_a_wrong_name_is_refused_with_alternatives(name: str, sentence: str) -> None:
    with pytest.raises(StoreError) as caught:
        find_cell(CELLS, name)
    assert sentence in str(caught.value)


def test_a_store_without_finished_cells_says_so() -> None:
    with pytest.raises(StoreError, match="This store has no finished cell"):
        find_cell(CELLS[2:], "elude")
