"""One DuckDB file of results: one short transaction per finished cell, and readers that never block a run.

DuckDB refuses to open a file for reading while another process has it open for writing, and the other way round. So
neither side holds it: every method opens the file, does one short operation, closes it, and waits for its turn (see
`connection` and `lock`). A writer that is killed loses at most the cell in flight.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from results import rehearsals
from results.errors import StoreError
from results.location import require_file_name
from results.store import connection, frames
from results.store.canonical import storable_text
from results.store.cell_rows import CELL_TABLES, CellRows, CellVersion, versions_of
from results.store.json_columns import SHAPES, decode
from results.store.outcomes import ImageOutcome
from results.store.records import RUN_STATUSES, CellRecord, RunRecord, ScoreRecord, row_of
from results.store.rows import delete_rows, insert_rows

#: Seconds to wait for a store in use, to see if it holds a rehearsal.
_GLANCE_S = 0.1
#: File of a store, with its time and size -> whether it holds a rehearsal; of the last one only.
_rehearsals: dict[tuple[Path, int, int], bool] = {}


class Store:
    """Results store. It holds a path and no connection, so it may be kept, copied and shared between threads."""

    def __init__(
        self, path: str | os.PathLike[str], read_only: bool = True, *, patience: connection.Patience | None = None
    ) -> None:
        """Keep the path; the file is not touched.

        Args:
            path: the DuckDB file.
            read_only: refuse to write.
            patience: how long to wait for a file that is in use; None: a few seconds to read, a minute to write.

        Raises:
            StoreError: the path is no file name, see :func:`results.location.require_file_name`.
        """
        require_file_name(path)
        self.path = Path(path).expanduser().absolute()
        self.read_only = read_only
        self.patience = patience

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, read_only={self.read_only})"

    def exists(self) -> bool:
        """Return whether the file exists."""
        return self.path.is_file()

    # Reading

    def query(self, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
        """Return the rows of one SQL query; `params` replace its `?`, in order.

        The file is opened read-only. NULL comes back as `pandas.NA`, `NaT` or None, NaN as NaN (see `frames`).

        Raises:
            StoreError: the store cannot be read, or the query is invalid.
        """
        with connection.reading(self.path, self.patience) as opened:
            try:
                opened.execute(sql, list(params))
                return frames.fetch(opened)
            except duckdb.Error as error:
                raise StoreError(f"The store could not answer the query: {error}") from error

    def finished(self, cell_ids: Iterable[str]) -> set[str]:
        """Return those of `cell_ids` that are finished; the empty set if there is no store yet."""
        wanted = [storable_text(cell_id) for cell_id in cell_ids]
        if not wanted or not self.exists():
            return set()
        sql = "SELECT cell_id FROM cells WHERE status = 'finished' AND cell_id IN (SELECT unnest(?::VARCHAR[]))"
        return set(self.query(sql, [wanted])["cell_id"])

    def statuses(self) -> dict[str, str]:
        """Return cell_id -> "finished" or "failed" of all cells; empty if there is no store yet."""
        if not self.exists():
            return {}
        frame = self.query("SELECT cell_id, status FROM cells ORDER BY cell_id")
        return dict(zip(frame["cell_id"], frame["status"], strict=True))

    def versions(self, cell_ids: Iterable[str]) -> dict[str, CellVersion]:
        """Return cell_id -> version of those of `cell_ids` that the store has; empty if there is no store yet."""
        wanted = [storable_text(cell_id) for cell_id in cell_ids]
        if not wanted or not self.exists():
            return {}
        with connection.reading(self.path, self.patience) as opened:
            return versions_of(opened, wanted)

    def runs(self) -> pd.DataFrame:
        """Return one row per run, oldest first, with its numbers of finished and failed cells."""
        return decoded(
            self.query(
                "SELECT r.*, count(*) FILTER (c.status = 'finished') AS n_finished, "
                "count(*) FILTER (c.status = 'failed') AS n_failed "
                "FROM runs r LEFT JOIN cells c USING (run_id) GROUP BY ALL ORDER BY r.started_at, r.run_id"
            )
        )

    def cells(self, *, suite: str | None = None, backbone: str | None = None, site: str | None = None) -> pd.DataFrame:
        """Return one row per cell, JSON columns decoded, with the run's code revision; the arguments filter them."""
        where, params = _where({"c.suite": suite, "c.backbone": backbone, "c.site": site})
        return decoded(
            self.query(
                "SELECT c.*, r.code_revision, r.started_at AS run_started_at FROM cells c "
                f"LEFT JOIN runs r USING (run_id) {where} ORDER BY c.started_at NULLS LAST, c.cell_id",
                params,
            )
        )

    def scores(
        self,
        *,
        metric: str | None = None,
        suite: str | None = None,
        backbone: str | None = None,
        site: str | None = None,
        cell_id: str | None = None,
    ) -> pd.DataFrame:
        """Return one row per score with the identity of its cell, `params` decoded; the arguments filter them.

        `evaluation_fingerprint` is the score's own if it has one, otherwise the cell's; `device` and `dtype`
        are the cell's.
        """
        where, params = _where(
            {"c.suite": suite, "c.backbone": backbone, "c.site": site, "c.cell_id": cell_id, "s.metric": metric}
        )
        return decoded(
            self.query(
                "SELECT s.* EXCLUDE (evaluation_fingerprint), "
                "coalesce(s.evaluation_fingerprint, c.evaluation_fingerprint) AS evaluation_fingerprint, "
                "c.suite, c.backbone, c.backbone_title, c.site, c.dataset, c.probing_fingerprint, c.method, c.label, "
                "c.config_id, c.token_seed, c.init_seed, c.device, c.dtype, c.d_out, c.n_units "
                f"FROM scores s JOIN cells c USING (cell_id) {where} "
                "ORDER BY c.started_at NULLS LAST, s.cell_id, s.metric, s.version, s.params_hash",
                params,
            )
        )

    def units(self, cell_id: str) -> pd.DataFrame:
        """Return one row per unit of a cell, by unit index."""
        return self.query("SELECT * EXCLUDE (cell_id) FROM units WHERE cell_id = ? ORDER BY unit", [cell_id])

    def curves(self, cell_id: str) -> pd.DataFrame:
        """Return the training curves of a cell: one row per series and step."""
        return self.query("SELECT series, step, value FROM curves WHERE cell_id = ? ORDER BY series, step", [cell_id])

    def images(self, fingerprint: str) -> pd.DataFrame:
        """Return the images of an evaluation split, by index."""
        return self.query('SELECT * EXCLUDE (dataset) FROM images WHERE dataset = ? ORDER BY "index"', [fingerprint])

    # Writing: each method is one transaction

    def start_run(self, run: RunRecord) -> None:
        """Record that a run began; a repeated run_id restarts it. Raises StoreError if the store cannot be written."""
        row = {**row_of(run), "status": "running"}
        with self.writing() as opened:
            delete_rows(opened, ["runs"], "run_id", [row["run_id"]])
            insert_rows(opened, "runs", [row])

    def end_run(self, run_id: str, status: str = "finished", ended_at: datetime | None = None) -> None:
        """Record how a run ended ("finished" or "interrupted"), now or at `ended_at`.

        Raises:
            StoreError: another status, or the store cannot be written.
        """
        if status not in RUN_STATUSES:
            raise StoreError(f"A run ends as {status!r}; it must be one of {', '.join(map(repr, RUN_STATUSES))}.")
        with self.writing() as opened:
            values = [status, ended_at or datetime.now(UTC), run_id]
            opened.execute("UPDATE runs SET status = ?, ended_at = ? WHERE run_id = ?", values)

    def record(
        self,
        cell: CellRecord,
        scores: Sequence[ScoreRecord] = (),
        units: pd.DataFrame | None = None,
        curves: pd.DataFrame | None = None,
        outcomes: Mapping[str, ImageOutcome] | None = None,
        unit_maps: pd.DataFrame | None = None,
    ) -> bool:
        """Write one cell with its scores and units in one transaction, replacing the cell's previous content.

        A failed cell never replaces a finished one: nothing is written then, and False is returned.

        Args:
            units: columns of the `units` table without cell_id; `unit` is required, others may be left out (NULL).
                NaN in a float column stays NaN; list columns hold arrays or lists, or None.
            curves: columns `series`, `step` and `value` of the training curves.
            outcomes: metric -> outcome of each image of the evaluation split, for shares of images.
            unit_maps: columns `unit`, `side`, `maps` and `peaks`, see `results.store.unit_maps`.

        Raises:
            StoreError: two scores with the same key, an unknown unit column, or the store cannot be written.
        """
        # Invalid values are found before the file is opened, so that others wait for I/O only.
        return self.put(CellRows.of(cell, scores, units, curves, outcomes, unit_maps), lambda present: False)

    def put(self, rows: CellRows, keeps: Callable[[CellVersion], bool]) -> bool:
        """Write the rows of a cell in one transaction, and return whether they were written.

        Args:
            rows: content of the cell.
            keeps: receives the version of the finished cell that the store has, if it has one, and returns whether it
                is kept. A failed result never replaces a finished one.

        Raises:
            StoreError: as :meth:`record`.
        """
        with self.writing() as opened:
            present = versions_of(opened, [rows.cell_id]).get(rows.cell_id)
            finished = present if present is not None and present.status == "finished" else None
            if finished is not None and (rows.cell["status"] == "failed" or keeps(finished)):
                return False
            rows.write(opened)
        return True

    def relabel(self, labels: Mapping[str, str]) -> None:
        """Change the leaderboard labels of cells (id -> label). Raises StoreError if the store cannot be written."""
        with self.writing() as opened:
            for cell_id, label in labels.items():
                opened.execute("UPDATE cells SET label = ? WHERE cell_id = ?", [storable_text(label), cell_id])

    def record_images(self, fingerprint: str, frame: pd.DataFrame) -> None:
        """Write the images of the split `fingerprint`; a split already stored is replaced by the same.

        Args:
            frame: columns `index` (required), `name`, `label`, `class_name`.

        Raises:
            StoreError: an unknown column, a duplicate index, or the store cannot be written.
        """
        if "index" in frame.columns and frame["index"].duplicated().any():
            raise StoreError("The images frame has an index twice; each image has its own.")
        with self.writing() as opened:
            delete_rows(opened, ["images"], "dataset", [fingerprint])
            frames.insert(opened, "images", frame, {"dataset": fingerprint})

    def forget(self, cell_ids: Iterable[str]) -> None:
        """Delete cells with their scores and units; unknown ids are ignored. Raises StoreError."""
        with self.writing() as opened:
            delete_rows(opened, CELL_TABLES, "cell_id", [storable_text(cell_id) for cell_id in cell_ids])

    def writing(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Open the file for one transaction: a context manager that returns the connection. Raises StoreError."""
        if self.read_only:
            raise StoreError(f"The store {self.path} was opened read-only; open it with read_only=False to write.")
        return connection.writing(self.path, self.patience)


def open_store(path: str | os.PathLike[str], read_only: bool = True) -> Store:
    """Return the store at `path`, holding no connection.

    Read-only, nothing is touched until the first query. For writing, the file and its folders are created if they are
    missing, and an older schema is migrated, so that a path that cannot be written is detected before anything is
    computed.

    Raises:
        StoreError: opened for writing and the path cannot be written, or the file is not a store that this program
            supports, or holds a rehearsal, whose figures are no results.
    """
    store = Store(path, read_only)
    if read_only:
        require_results(store.path)
    else:
        with connection.writing(store.path) as opened:
            if _has_rehearsal(opened):
                raise rehearsals.refusal(store.path)
    return store


def require_results(path: Path) -> None:
    """Refuse the store of a rehearsal.

    Raises:
        StoreError: it holds one; nothing is raised if it cannot be read now.
    """
    if is_rehearsal(path):
        raise rehearsals.refusal(path)


def is_rehearsal(path: Path) -> bool:
    """Return whether a store holds cells of a rehearsal; False if it cannot be read now, or there is none."""
    try:
        status = path.stat()
    except OSError:
        return False
    # The app opens its store at every interaction.
    key = (path, status.st_mtime_ns, status.st_size)
    if key not in _rehearsals:
        try:
            with connection.reading(Path(path).expanduser().absolute(), connection.Patience(_GLANCE_S)) as opened:
                holds_rehearsal = _has_rehearsal(opened)
        except StoreError:
            # The first query of the caller waits longer, and reports what is wrong.
            return False
        _rehearsals.clear()
        _rehearsals[key] = holds_rehearsal
    return _rehearsals[key]


def _has_rehearsal(opened: duckdb.DuckDBPyConnection) -> bool:
    cell = opened.execute("SELECT 1 FROM cells WHERE dataset = ? LIMIT 1", [rehearsals.DATASET]).fetchone()
    return cell is not None


def _where(equal: Mapping[str, str | None]) -> tuple[str, list[str]]:
    given = {column: storable_text(value) for column, value in equal.items() if value is not None}
    clause = " AND ".join(f"{column} = ?" for column in given)
    return (f"WHERE {clause}" if clause else ""), list(given.values())


def decoded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its JSON columns decoded to their shapes, see `json_columns`; NULL is None."""
    for name in SHAPES:
        if name in frame.columns:
            values = [decode(name, text) for text in frame[name]]
            frame[name] = pd.Series(values, index=frame.index, dtype=object)
    return frame
