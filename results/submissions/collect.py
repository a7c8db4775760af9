"""Files of a submission from a store, in memory: nothing is written."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from results.errors import StoreError
from results.store import connection, frames
from results.store.records import grouped
from results.submissions.choose import Chosen
from results.submissions.document_checks import document_path, document_problems
from results.submissions.documents import (
    cell_document,
    group_document,
    images_document,
    tournament_document,
)
from results.submissions.guards import flags_by_cell
from results.submissions.parquet import CELL_PARQUET, TableWriter, digest_of, writing_tables
from results.submissions.paths import GROUP, cell_folder, table_file
from results.submissions.rows import rows_of
from results.visible_text import one_line

if TYPE_CHECKING:
    from results.store import Store

_THESE = "IN (SELECT unnest(?::VARCHAR[]))"


class Item(NamedTuple):
    """One result of a submission: its document, and its tables as Parquet files."""

    path: PurePosixPath
    document: dict[str, Any]
    tables: Mapping[str, bytes]
    """table -> content of the file"""

    def files(self) -> Iterator[tuple[PurePosixPath, bytes]]:
        """Yield path and content of the tables."""
        for table, content in self.tables.items():
            yield table_file(self.path, table), content


def items(store: Store, chosen: Chosen, submission: Mapping[str, str], notes: list[str]) -> Iterator[Item]:
    """Yield the results of the chosen cells: the cells, their images, scores of groups, and tournaments among them.

    The store is read cell by cell, so that memory does not grow with their number.

    Args:
        submission: what the sender says: note, contact, program.
        notes: receives sentences on what is left out.

    Raises:
        StoreError: a cell cannot be submitted, or the store cannot be read.
    """
    ids = [str(cell_id) for cell_id in chosen.cells["cell_id"]]
    scores = store.scores()
    flags = flags_by_cell(chosen.cells, scores[scores["cell_id"].isin(ids)])
    with writing_tables() as writer:
        for cell_id in ids:
            with connection.reading(store.path, store.patience) as opened:
                item = _cell(opened, cell_id, writer, flags.get(cell_id, {}), submission)
            yield item
        with connection.reading(store.path, store.patience) as opened:
            others = [*_images(opened, ids), *_groups(opened, ids), *_tournaments(opened, ids, writer, notes)]
    yield from others


def _cell(
    opened: duckdb.DuckDBPyConnection,
    cell_id: str,
    writer: TableWriter,
    flags: Mapping[str, str],
    submission: Mapping[str, str],
) -> Item:
    of_cell, key = "cell_id = ?", [cell_id]
    rows = rows_of(opened, "cells", of_cell, key, "cell_id")
    if not rows:
        raise StoreError(f"The cell {one_line(cell_id)[:40]} is no longer in the store; submit again.")
    runs = rows_of(opened, "runs", "run_id = ?", [rows[0]["run_id"]], "run_id")
    tables = _tables(opened, CELL_PARQUET, of_cell, key, writer)
    document = cell_document(
        rows[0],
        runs[0] if runs else None,
        rows_of(opened, "scores", of_cell, key, "metric, version, params_hash"),
        rows_of(opened, "curves", of_cell, key, "series, step"),
        tables=tables.stated,
        flags=flags,
        submission=submission,
    )
    title = f"cell {one_line(cell_id)[:40]} ({one_line(rows[0]['label'])[:60]})"
    return Item(_checked(document, title), document, tables.contents)


class _Tables(NamedTuple):
    contents: dict[str, bytes]
    stated: dict[str, dict[str, Any]]
    """table -> rows and hash, for the document"""


def _tables(
    opened: duckdb.DuckDBPyConnection, names: Collection[str], where: str, params: list[Any], writer: TableWriter
) -> _Tables:
    """Return the tables that have rows."""
    result = _Tables({}, {})
    for table in names:
        opened.execute(f"SELECT * FROM {table} WHERE {where}", params)
        frame = frames.fetch(opened)
        if not frame.empty:
            content = writer.content(table, frame.drop(columns=["cell_id", "tournament"], errors="ignore"))
            result.contents[table] = content
            result.stated[table] = {"rows": len(frame), "sha256": digest_of(content)}
    return result


def _checked(document: dict[str, Any], title: str) -> PurePosixPath:
    """Return the path of a document.

    Raises:
        StoreError: it could not be read again.
    """
    path = None
    for field, why in itertools.islice(document_problems(document, PurePosixPath()), 1):
        if field:
            raise StoreError(f"The {title} cannot be submitted: {field} {why}")
    path = document_path(document)
    assert path is not None  # groups have no path of their own
    return path


def _images(opened: duckdb.DuckDBPyConnection, ids: list[str]) -> Iterator[Item]:
    rows = opened.execute(
        f"SELECT DISTINCT evaluation_fingerprint FROM cells WHERE cell_id {_THESE} ORDER BY 1", [ids]
    ).fetchall()
    for (fingerprint,) in rows:
        images = rows_of(opened, "images", "dataset = ?", [fingerprint], '"index"')
        if images:
            document = images_document(fingerprint, images)
            yield Item(_checked(document, f"image set {one_line(fingerprint)[:40]}"), document, {})


def _groups(opened: duckdb.DuckDBPyConnection, ids: list[str]) -> Iterator[Item]:
    """Yield the scores of groups all of whose cells are submitted, beside the first of these cells."""
    cells = {row["cell_id"]: row for row in rows_of(opened, "cells", f"cell_id {_THESE}", [ids], "cell_id")}
    rows = rows_of(opened, "group_scores", "true", [], "group_id, metric, version")
    for group_id, group in grouped(rows, lambda row: str(row["group_id"])).items():
        cell_ids = group[0]["cell_ids"]
        if not cell_ids or not set(cell_ids) <= set(cells):
            continue
        document = group_document(group)
        first = cells[min(cell_ids)]
        path = cell_folder(first["backbone"], first["site"], first["method"]) / f"{group_id}{GROUP}"
        for field, why in document_problems(document, path):
            raise StoreError(f"The score of the group {one_line(group_id)[:40]} cannot be submitted: {field} {why}")
        yield Item(path, document, {})


def _tournaments(
    opened: duckdb.DuckDBPyConnection, ids: list[str], writer: TableWriter, notes: list[str]
) -> Iterator[Item]:
    """Yield the tournaments all of whose cells are submitted, with the replies that they were counted from."""
    n_partial = 0
    for row in rows_of(opened, "tournaments", "true", [], "tournament"):
        key = [row["tournament"]]
        rates = rows_of(opened, "win_rates", "tournament = ?", key, "rank NULLS LAST, label, config_id")
        opened.execute(
            "SELECT cell_a FROM comparisons WHERE tournament = ? UNION SELECT cell_b FROM comparisons "
            "WHERE tournament = ?",
            key * 2,
        )
        judged = {cell_id for (cell_id,) in opened.fetchall()} | {i for rate in rates for i in rate["cell_ids"] or ()}
        if not rates or not judged <= set(ids):
            n_partial += bool(judged & set(ids))
            continue
        asked = _tables(opened, ["comparisons"], "tournament = ?", key, writer)
        replies = _tables(opened, ["replies"], _REPLIES, [row["prompt_version"], row["judges"], *key], writer)
        document = tournament_document(row, rates, {**asked.stated, **replies.stated})
        path = _checked(document, f"tournament {one_line(row['tournament'])[:40]}")
        yield Item(path, document, {**asked.contents, **replies.contents})
    if n_partial:
        notes.append(
            f"{n_partial} {'tournaments are' if n_partial > 1 else 'tournament is'} left out, with the win rates: "
            "only a part of the judged cells is submitted."
        )


_REPLIES = (
    "prompt_version = ? AND list_contains(?::VARCHAR[], judge) AND EXISTS (SELECT 1 FROM comparisons c "
    "WHERE c.tournament = ? AND c.grid_a = replies.grid_a AND c.grid_b = replies.grid_b)"
)
