"""Choice of one cell of a store by what a user types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import UserError
from results.errors import StoreError
from results.store.find_cell import find_cell


def named_cell(cells: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return the row of the cell with this id, its first digits, or the name of a row that has one finished cell.

    Args:
        cells: rows of the table `cells`.
        name: what the user typed.

    Raises:
        UserError: if no cell or several have the name.
    """
    try:
        return find_cell(cells, name)
    except StoreError as error:
        raise UserError(str(error)) from error
