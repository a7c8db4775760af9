"""Selection of the cells of a store that are submitted."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from results.errors import StoreError
from results.visible_text import names_text

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store


class Wanted(NamedTuple):
    """Cells to submit: those that fit every filter that is given."""

    cells: Collection[str] = ()
    """ids, or starts of ids of at least 6 characters"""
    methods: Collection[str] = ()
    """registry names or labels"""
    suite: str | None = None
    backbone: str | None = None
    site: str | None = None


class Chosen(NamedTuple):
    """Finished cells that are submitted, and the number of failed ones that fit too, which are not."""

    cells: pd.DataFrame
    """as `Store.cells()` returns them"""
    n_failed: int


def choose(store: Store, wanted: Wanted) -> Chosen:
    """Return the cells of a store that fit the filters.

    Raises:
        StoreError: no finished cell fits, or a filter fits none.
    """
    frame = store.cells(suite=wanted.suite, backbone=wanted.backbone, site=wanted.site)
    for start in wanted.cells:
        if len(start) < 6 or not frame["cell_id"].str.startswith(start).any():
            raise StoreError(f"--cells {start}: no cell has an id that starts so; give at least 6 characters of it.")
    if wanted.cells:
        frame = frame[frame["cell_id"].str.startswith(tuple(wanted.cells))]
    for name in wanted.methods:
        if not ((frame["method"] == name) | (frame["label"] == name)).any():
            raise StoreError(f"--methods {name}: no cell has it; there are {names_text(sorted(set(frame['method'])))}.")
    if wanted.methods:
        frame = frame[frame["method"].isin(wanted.methods) | frame["label"].isin(wanted.methods)]
    finished = frame[frame["status"] == "finished"]
    if finished.empty:
        raise StoreError(f"There is nothing to submit: no finished cell of {store.path} fits the filters.")
    return Chosen(finished, len(frame) - len(finished))
