"""Results that wait beside a store which cannot be written now: each is a small results store of its own.

``<store>.spool/<cell id>.<run id>.duckdb`` holds one computed cell, with the images of its evaluation split if the
store lacks them. The file appears complete or not at all. :func:`take_in` writes it to the store and removes it; runs
do so when they start and while they wait, and so do the other verbs that write. A file that cannot be read is set aside
under the name ``*.damaged``, and its cell is computed again. So is one that holds anything else, such as a whole store.
Links are not followed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from results.atomic import partial_file
from results.errors import StoreError, StoreUnavailableError
from results.store import frames, schema
from results.store.cell_rows import CELL_TABLES, CellRows, CellVersion
from results.store.database import open_database
from results.store.records import RUN_STATUSES
from results.store.small_files import is_plain_file, is_plain_folder, read_small
from results.store.store import Store

_SUFFIX = ".duckdb"
_END = ".ended"

#: Errors of a damaged file, whatever is damaged.
_UNREADABLE = (StoreError, duckdb.Error, ValueError, KeyError, TypeError, AttributeError)


class TakenIn(NamedTuple):
    """Result of :func:`take_in`."""

    recorded: list[str]
    """cells that were written to the store"""
    kept: list[str]
    """cells of which the store had a later result"""
    damaged: list[str]
    """one sentence per file that was set aside"""


def spool_dir(store: Path) -> Path:
    """Return the folder of the results that wait beside a store."""
    return store.with_name(store.name + ".spool")


def spooled(store: Path) -> list[Path]:
    """Return the files of results that wait beside a store."""
    return [path for path in _entries(store, _SUFFIX) if is_plain_file(path)]


def _entries(store: Path, suffix: str) -> list[Path]:
    folder = spool_dir(store)
    try:
        return sorted(folder.glob(f"[!.]*{suffix}")) if is_plain_folder(folder) else []
    except OSError:
        return []


def _make_folder(store: Path) -> Path:
    """Create the folder of waiting results. Raises OSError if that is impossible, or a link has its name."""
    folder = spool_dir(store)
    folder.mkdir(exist_ok=True)
    if not is_plain_folder(folder):
        raise OSError(errno.ENOTDIR, "it is a link, not a folder")
    return folder


def spooled_cells(store: Path) -> set[str]:
    """Return the ids of the cells whose results wait beside a store."""
    return {path.name.partition(".")[0] for path in spooled(store)}


def waiting_sentence(store: Path) -> str | None:
    """Return a sentence on the results that wait beside a store; None if there are none."""
    n = len(spooled(store))
    if n == 0:
        return None
    results, them = ("1 finished result waits", "it") if n == 1 else (f"{n} finished results wait", "them")
    return (
        f"{results} in {spool_dir(store)} because the store could not be written; the next `harness run`, `judge` or "
        f"`stability` on this store takes {them} in."
    )


def spool(store: Path, rows: CellRows, images: Mapping[str, pd.DataFrame] | None = None) -> Path:
    """Write one cell beside the store, atomically, and return its file.

    Args:
        store: file of the store.
        rows: content of the cell.
        images: fingerprint -> images of evaluation splits that the store lacks.

    Raises:
        StoreUnavailableError: the folder cannot be written, or the disk is full.
        StoreError: a value that does not fit its column.
    """
    folder = spool_dir(store)
    target = folder / f"{rows.cell_id}.{rows.cell.get('run_id') or 'run'}{_SUFFIX}"
    try:
        _make_folder(store)
        with partial_file(target) as partial:
            schema.create(partial)
            with contextlib.closing(open_database(partial)) as opened:
                with schema.transaction(opened):
                    rows.write(opened)
                    for fingerprint, frame in (images or {}).items():
                        frames.insert(opened, "images", frame, {"dataset": fingerprint})
                # Everything is in the one file that gets the name.
                opened.execute("CHECKPOINT")
    except (OSError, duckdb.Error) as error:
        reason = str(getattr(error, "strerror", None) or error).strip().splitlines()[0]
        is_of_the_file = isinstance(error, (OSError, duckdb.IOException, duckdb.FatalException))
        kind = StoreUnavailableError if is_of_the_file else StoreError
        raise kind(f"A result cannot be written to {folder} ({reason}).") from error
    return target


def spool_end(store: Path, run_id: str, status: str) -> None:
    """Write beside the store how and when a run ended. Raises OSError if the folder cannot be written."""
    folder = _make_folder(store)
    with partial_file(folder / f"{run_id}{_END}") as partial:
        partial.write_text(json.dumps({"status": status, "ended_at": datetime.now(UTC).isoformat()}))


def take_in(store: Store) -> TakenIn:
    """Write the results that wait beside the store to it, and remove their files.

    Of two finished results of a cell the later one stays, by the start of its computation; a failed one never replaces
    a finished one. Two processes may do so at once.

    Raises:
        StoreUnavailableError: the store is in use or cannot be written; what was not taken in keeps waiting.
    """
    taken = TakenIn([], [], [])
    for path in spooled(store.path):
        try:
            contents = _read(path)
        except _UNREADABLE as error:
            if path.exists():
                taken.damaged.append(_set_aside(path, error))
            continue
        try:
            _write(store, contents, taken)
        except StoreUnavailableError:
            raise
        except _UNREADABLE as error:
            taken.damaged.append(_set_aside(path, error))
        else:
            path.unlink(missing_ok=True)
    _take_in_ends(store)
    with contextlib.suppress(OSError):
        spool_dir(store.path).rmdir()
    return taken


def _write(store: Store, contents: _Contents, taken: TakenIn) -> None:
    for fingerprint, frame in contents.images.items():
        store.record_images(fingerprint, frame)
    for rows in contents.cells:
        # A result that is already there is of the same computation, and not later.
        is_written = store.put(rows, functools.partial(_is_later, version=rows.version))
        (taken.recorded if is_written else taken.kept).append(rows.cell_id)


def _is_later(present: CellVersion, version: CellVersion) -> bool:
    return present.is_newer_than(version)


def _take_in_ends(store: Store) -> None:
    for path in _entries(store.path, _END):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            content = json.loads(read_small(path))
            ended_at = datetime.fromisoformat(content["ended_at"])
            if content["status"] in RUN_STATUSES:
                store.end_run(path.name.removesuffix(_END), content["status"], ended_at)
        path.unlink(missing_ok=True)


def readable(store: Path) -> list[Path]:
    """Return the files of results that wait beside a store, without the damaged ones."""
    usable = []
    for path in spooled(store):
        with contextlib.suppress(*_UNREADABLE):
            _read(path)
            usable.append(path)
    return usable


class _Contents(NamedTuple):
    cells: list[CellRows]
    images: dict[str, pd.DataFrame]
    """fingerprint -> images of an evaluation split"""


def _read(path: Path) -> _Contents:
    """Return the cells and the images of a file. Raises one of :data:`_UNREADABLE`."""
    waiting = Store(path)
    cells = []
    for cell in _rows(waiting.query("SELECT * FROM cells")):
        of_cell = {
            table: waiting.query(f"SELECT * EXCLUDE (cell_id) FROM {table} WHERE cell_id = ?", [cell["cell_id"]])
            for table in CELL_TABLES[:-1]
        }
        scores, outcomes = (
            [{"cell_id": cell["cell_id"], **row} for row in _rows(of_cell[table])] for table in ("scores", "outcomes")
        )
        cells.append(CellRows(cell, scores, of_cell["units"], of_cell["curves"], outcomes, of_cell["unit_maps"]))
    if [cell.cell_id for cell in cells] != [path.name.partition(".")[0]]:
        raise StoreError("it does not hold the one cell that its name says")
    images = waiting.query("SELECT * FROM images")
    return _Contents(cells, {str(name): frame.drop(columns="dataset") for name, frame in images.groupby("dataset")})


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as values that DuckDB binds: missing ones as None, NaN as NaN."""
    return [{str(name): _bindable(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _bindable(value: Any) -> Any:
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value.item() if hasattr(value, "item") else value


def _set_aside(path: Path, error: Exception) -> str:
    damaged = path.with_name(path.name.removesuffix(_SUFFIX) + ".damaged")
    with contextlib.suppress(OSError):
        path.replace(damaged)
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"The result in {damaged} cannot be read ({reason}); its cell is computed again."
