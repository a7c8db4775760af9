"""Guards of a submission beside wrong values: flags, random controls, seeds, and versions of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from results.boards.build import boards_of
from results.boards.chance import matched_control
from results.boards.flags import BELOW_FLOOR, COLLAPSED
from results.comparison.leaderboard import leaderboard
from results.submissions.documents import key_parts
from results.submissions.fields import seen
from results.submissions.files import FolderProblem
from results.submissions.folder import Document, Folder
from results.submissions.metric_versions import NEWEST_OF_GROUPS, newest_version

if TYPE_CHECKING:
    import pandas as pd

    from results.boards.board import Board, Row
    from results.store import Store

#: Flags that follow from the scores of one cell; the others depend on the rest of the board.
OWN_FLAGS = (COLLAPSED, BELOW_FLOOR)


class Finding(NamedTuple):
    """A problem, or with `is_warning` something that a reviewer should know."""

    problem: FolderProblem
    is_warning: bool = False


def flags_by_cell(cells: pd.DataFrame, scores: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return cell id -> flag -> sentence, of the flags that follow from the scores of a cell.

    Args:
        cells: finished cells, as `Store.cells()` returns them.
        scores: their scores, as `Store.scores()` returns them.
    """
    scores_of = dict(list(scores.groupby("cell_id", sort=False)))
    return {
        str(cell_id): {
            flag.name: flag.sentence
            for board in boards_of(cell, scores_of.get(cell_id, scores.iloc[:0]), sweeps=True)
            for row in board.rows
            for flag in row.flags
            if flag.name in OWN_FLAGS
        }
        for cell_id, cell in cells.groupby("cell_id", sort=False)
    }


def findings(folder: Folder, store: Store) -> Iterator[Finding]:
    """Yield what the guards find in a folder and in the store that was made from it."""
    yield from _versions(folder)
    yield from _flags(folder, store)
    yield from _revisions(folder)
    yield from _unused_images(folder)
    files = {cell.content["cell_id"]: cell for cell in folder.cells}
    for board in leaderboard(store):
        yield from _controls(board, files)
        yield from _rows(board, files)


def _versions(folder: Folder) -> Iterator[Finding]:
    """Yield scores of versions that this program does not compute."""
    for kind in ("cell", "group"):
        for document in folder.documents[kind]:
            for key in document.content["scores"]:
                metric, version, _ = key_parts(key) or ("", 0, "")
                newest = newest_version(metric) if kind == "cell" else NEWEST_OF_GROUPS.get(metric)
                if newest is None:
                    why = "is of a metric that this program does not have (a plugin's?), and so cannot be repeated."
                elif version > newest:
                    why = f"is version {version}, and this program knows up to version {newest}; upgrade it."
                elif version < newest:
                    why = f"is version {version}; version {newest} is computed now, and they are never ranked together."
                else:
                    continue
                is_warning = newest is None or version < newest
                yield Finding(document.problem(f"scores.{key}", why), is_warning)


def _flags(folder: Folder, store: Store) -> Iterator[Finding]:
    """Yield cells whose document states other flags than its scores give."""
    recomputed = flags_by_cell(store.cells(), store.scores())
    for cell in folder.cells:
        flags = recomputed.get(cell.content["cell_id"])
        if flags is None:
            continue
        stated = cell.content["flags"]
        for name in sorted({*flags, *stated}):
            if name not in stated:
                yield Finding(cell.problem("flags", f"lack {name!r}, which follows from its scores: {flags[name]}."))
            elif name not in flags:
                yield Finding(cell.problem(f"flags.{seen(name)}", "does not follow from its scores."))


def _revisions(folder: Folder) -> Iterator[Finding]:
    """Yield a warning for each run whose code cannot be fetched: it was changed, or its revision is not known."""
    runs: dict[str, Document] = {}
    for cell in folder.cells:
        runs.setdefault(cell.content.get("run", {}).get("run_id", ""), cell)
    for run_id, cell in runs.items():
        revision = cell.content.get("run", {}).get("code_revision")
        if not run_id or not revision:
            yield Finding(cell.problem("run", "has no code revision: the result cannot be repeated."), is_warning=True)
        elif "+" in revision:
            why = f"({run_id}) is of changed code ({revision}): ask for the change."
            yield Finding(cell.problem("run", why), is_warning=True)


def _unused_images(folder: Folder) -> Iterator[Finding]:
    """Yield a warning for each image set that no cell was measured on."""
    used = {cell.content["cell"].get("evaluation_fingerprint") for cell in folder.cells}
    for images in folder.documents["images"]:
        if images.content["fingerprint"] not in used:
            yield Finding(images.problem("", "is an image set that no cell was measured on."), is_warning=True)


def _controls(board: Board, files: Mapping[str, Document]) -> Iterator[Finding]:
    """Yield a problem for a board of methods without any random control, and a warning for rows without theirs."""
    methods = [row for row in board.rows if row.group == "method" and row.n_finished]
    controls = [row for row in board.rows if row.control_for and row.n_finished]
    if methods and not controls:
        why = (
            f"is on the board {board.title}, which has no random control: submit those of the suite too "
            "(random_dictionary, random_split, frozen_decoder_sae)."
        )
        yield Finding(_first(methods[0], files).problem("", why))
        return
    for row in methods:
        if matched_control(row, board.rows, board.columns) is None:
            why = f"({row.title}) has no random control of its family with as many units on the board {board.title}."
            yield Finding(_first(row, files).problem("", why), is_warning=True)


def _rows(board: Board, files: Mapping[str, Document]) -> Iterator[Finding]:
    """Yield a warning for each flag of a row on its board, `one seed` among them, and for seeds with several cells."""
    for row in board.rows:
        if row.n_finished > row.n_seeds:
            why = f"({row.title} on the board {board.title}) has {row.n_finished} cells, but {row.n_seeds} seeds."
            yield Finding(_first(row, files).problem("", why), is_warning=True)
        for flag in row.flags:
            why = f"({row.title} on the board {board.title}) is flagged {flag.name}: {flag.sentence}."
            yield Finding(_first(row, files).problem("", why), is_warning=True)


def _first(row: Row, files: Mapping[str, Document]) -> Document:
    return files[row.cell_ids[0]]
