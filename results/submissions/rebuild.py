"""A store from the folder of a submission: the same scores to the bit, so the same boards."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from results.errors import StoreError
from results.store import schema
from results.store.rows import insert_rows
from results.submissions.documents import cell_rows, group_rows, image_rows, tournament_rows
from results.submissions.files import FolderProblem, read_bounded
from results.submissions.folder import Document, Folder, read_folder
from results.submissions.parquet import TABLES, digest_of
from results.submissions.parquet_reader import ParquetInserter, inserting

#: Rows that are inserted in one statement.
_CHUNK = 500


@contextlib.contextmanager
def rebuilt(folder: Path) -> Iterator[Path]:
    """Yield the path of a temporary store with the content of a submission's folder.

    Raises:
        StoreError: a file of the folder has a problem.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as scratch_dir:
        store = Path(scratch_dir) / "submissions.duckdb"
        content = read_folder(folder)
        problems = content.problems or rebuild(content, store)
        if problems:
            more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
            raise StoreError(
                f"{folder} cannot be read: {problems[0]}{more} `harness verify --strict {folder}` names all of them."
            )
        yield store


def rebuild(folder: Folder, store: Path) -> list[FolderProblem]:
    """Write a new store with the content of a folder, and return the problems of its tables and of their relations.

    Cells whose tables have a problem are left out.

    Raises:
        StoreError: the store cannot be written.
    """
    schema.create(store)
    try:
        with inserting(store) as inserter:
            writer = _Rebuild(folder, inserter)
            writer.write()
            inserter.opened.execute("CHECKPOINT")
            return writer.problems
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise StoreError(f"{folder.root} cannot be written as a store ({reason[:160]}).") from error


class _Rebuild:
    """The store that is being written, and what was wrong on the way."""

    def __init__(self, folder: Folder, inserter: ParquetInserter) -> None:
        self.folder = folder
        self.inserter = inserter
        self.problems: list[FolderProblem] = []
        self.runs: dict[str, tuple[dict[str, Any], Document]] = {}

    def write(self) -> None:
        documents = self.folder.documents
        for cell in documents["cell"]:
            if self._insert_tables(cell, {"cell_id": cell.content["cell_id"]}):
                rows = cell_rows(cell.content)
                for run in rows.pop("runs"):
                    self._keep_run(run, cell)
                self._insert(rows)
        self._insert({"runs": [row for row, _ in self.runs.values()]})
        for images in documents["images"]:
            self._insert({"images": image_rows(images.content)})
        for group in documents["group"]:
            self._insert({"group_scores": group_rows(group.content)})
        for tournament in documents["tournament"]:
            if self._insert_tables(tournament, {"tournament": tournament.content["tournament"]}):
                self._insert(tournament_rows(tournament.content))

    def _keep_run(self, run: dict[str, Any], cell: Document) -> None:
        kept, first = self.runs.setdefault(run["run_id"], (run, cell))
        if kept != run:
            self.problems.append(cell.problem("run", f"differs from the run of the same id in {first.path}."))

    def _insert_tables(self, document: Document, named: Mapping[str, str]) -> bool:
        """Insert the Parquet files of a document; return whether all of them are right."""
        n_before = len(self.problems)
        opened = self.inserter.opened
        opened.execute("BEGIN")
        for table, path in document.tables().items():
            stated = document.content["tables"][table]
            fixed = {} if TABLES[table].fixed is None else dict(named)
            try:
                content = read_bounded(self.folder.root, path)
                if digest_of(content) != stated["sha256"]:
                    raise StoreError(f"is not the file that {document.path.name} names: its hash is another one")
                rows = self.inserter.insert(table, content, fixed)
                if rows != stated["rows"]:
                    raise StoreError(f"has {rows} rows, and {document.path.name} names {stated['rows']}")
            except StoreError as error:
                self.problems.append(FolderProblem(str(path), "", f"{error}."))
                break
        is_right = len(self.problems) == n_before
        opened.execute("COMMIT" if is_right else "ROLLBACK")
        return is_right

    def _insert(self, rows: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        for table, table_rows in rows.items():
            for start in range(0, len(table_rows), _CHUNK):
                insert_rows(self.inserter.opened, table, list(table_rows[start : start + _CHUNK]))
