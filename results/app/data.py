"""Store of the app, opened once per page; every failure is shown as a sentence."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import streamlit as st

from results.app.titles import plain
from results.app.widgets import Choice
from results.boards.board import Board, BoardKey
from results.comparison.headline import Headline, headline
from results.comparison.leaderboard import leaderboard
from results.errors import StoreError
from results.store import Store, connection, frames
from results.store.store import require_results

STORE_VARIABLE = "HARNESS_STORE"
IMAGES_VARIABLE = "HARNESS_IMAGES"
VOTES_VARIABLE = "HARNESS_VOTES"
DEFAULT_STORE = "outputs/results.duckdb"


def read_arguments(arguments: Sequence[str]) -> None:
    """Move `--store`, `--images` and `--votes` from the command line into the environment; others are streamlit's."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--store")
    parser.add_argument("--images")
    parser.add_argument("--votes", action="store_const", const="1")
    options, _ = parser.parse_known_args(arguments)
    for variable, value in (
        (STORE_VARIABLE, options.store),
        (IMAGES_VARIABLE, options.images),
        (VOTES_VARIABLE, options.votes),
    ):
        if value:
            os.environ[variable] = value


def store() -> Store:
    """Return the store without opening it."""
    return Store(os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)


def folder() -> Path:
    """Return the folder of the store, in which the grids, ballots and votes are."""
    return store().path.parent


def images_folder() -> Path | None:
    """Return the folder of images that the user gave."""
    given = os.environ.get(IMAGES_VARIABLE)
    return Path(given).expanduser() if given else None


def stamp() -> tuple[str, int, int]:
    """Return a key that changes when the store does, used for everything that is cached between interactions.

    For a missing file it is (path, 0, 0).
    """
    path = store().path
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), status.st_mtime_ns, status.st_size


class PageStore(Store):
    """Store that is opened by the first query of a page and closed with the page.

    Opening takes longer than most queries, and everything on a page is read at the same state of the store. A run that
    needs to write waits for the page, which takes much less than its timeout.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._opened: duckdb.DuckDBPyConnection | None = None
        self._stack = contextlib.ExitStack()

    def query(self, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
        """Return the rows of a query as `Store.query`, with the file kept open."""
        if self._opened is None:
            require_results(self.path)
            self._opened = self._stack.enter_context(connection.reading(self.path))
        try:
            self._opened.execute(sql, list(params))
            return frames.fetch(self._opened)
        except duckdb.Error as error:
            raise StoreError(f"The store could not answer the query: {error}") from error

    def close(self) -> None:
        """Close the file; the next query opens it again."""
        self._opened = None
        self._stack.close()


@contextlib.contextmanager
def page() -> Iterator[Store]:
    """Open a page; show a StoreError as a sentence in its place."""
    try:
        with contextlib.closing(PageStore(store().path)) as opened:
            yield opened
    except StoreError as error:
        st.error(plain(str(error)), icon=":material/database_off:")
        st.button("Try again", key="again")


def prepare(*steps: Callable[[Store, Sequence[Board]], None]) -> None:
    """Build boards and headlines before the first page needs them; errors of the store are shown by that page.

    Args:
        steps: functions of pages that prepare more, called between the boards and the headlines.
    """
    with contextlib.suppress(StoreError), contextlib.closing(PageStore(store().path)) as opened:
        boards = _boards(stamp(), opened)
        for step in steps:
            step(opened, boards)
        for board in boards:
            headline_of(opened, board)


def require_boards(opened: Store) -> list[Board]:
    """Return the boards, cached until the store changes; if there are none, show what to do and stop.

    Raises:
        StoreError: the store cannot be read.
    """
    boards = _boards(stamp(), opened)
    if not boards:
        name = opened.path.name.replace("`", "")
        st.info(f"This store has no cells yet. Fill it with `harness run --suite demo --store {name}`.")
        st.stop()
    return boards


def rows_by_cell(opened: Store) -> dict[str, Choice]:
    """Return cell id -> its row and board; cells of sweeps are left out as on the boards.

    Raises:
        StoreError: the store cannot be read.
    """
    return {
        cell_id: Choice(board, row)
        for board in _boards(stamp(), opened)
        for row in board.rows
        for cell_id in row.cell_ids
    }


def headline_of(opened: Store, board: Board) -> Headline | None:
    """Return the headline of a board, cached until the store changes; None if it has none.

    Raises:
        StoreError: the store cannot be read.
    """
    return _headline(stamp(), BoardKey(*(getattr(board, name) or "" for name in BoardKey._fields)), opened, board)


# A resource, not data: boards are frozen, and copying them at every interaction would cost more than building them.
@st.cache_resource(max_entries=4, show_spinner=False)
def _boards(stamp: tuple[str, int, int], _opened: Store) -> list[Board]:
    return leaderboard(_opened)


# The bootstrap takes seconds; it is seeded, so the same store gives the same numbers.
@st.cache_resource(max_entries=32, show_spinner=False)
def _headline(stamp: tuple[str, int, int], key: BoardKey, _opened: Store, _board: Board) -> Headline | None:
    return headline(_opened, _board)
