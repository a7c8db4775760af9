"""Results of a store as reviewable text in the folder of a results repository: `harness submit`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from results.errors import StoreError
from results.store import open_store
from results.submissions.choose import Wanted, choose
from results.submissions.collect import Item, items
from results.submissions.files import folder_for_results, read_bounded, write_atomically
from results.submissions.parquet import TABLES
from results.submissions.parquet_reader import same_rows
from results.submissions.paths import table_file
from results.submissions.text import parse, render

#: Parts of a document that two submissions of one result may differ in: what the sender says, the bytes of the tables
#: (their rows are compared), and when a score of a group was measured.
_VARYING = ("submission", "tables")


class Submitted(NamedTuple):
    """Result of a submission."""

    folder: Path
    """the folder `results`"""
    written: list[str]
    """paths of new documents, within the folder"""
    replaced: list[str]
    unchanged: list[str]
    notes: list[str]
    """sentences on what is left out"""


def submit(
    store: str | Path,
    folder: str | Path,
    wanted: Wanted | None = None,
    *,
    note: str = "",
    contact: str = "",
    program: str = "",
    replace: bool = False,
) -> Submitted:
    """Write the finished cells of a store to the folder `results` of a repository, with all that belongs to them.

    A result that is there with the same content stays as it is, to the byte.

    Args:
        folder: the repository; it is made if it is missing.
        wanted: which cells; default: all.
        note: a sentence for the reviewers.
        contact: who answers questions.
        program: name and version of the program that submits.
        replace: replace results that are there with other content.

    Raises:
        StoreError: nothing fits, a cell cannot be submitted, or a result is there with other content; nothing is
            written then.
    """
    opened = open_store(store)
    chosen = choose(opened, wanted or Wanted())
    submission = {"note": note, "contact": contact, "program": program}
    submission = {name: text for name, text in submission.items() if text}
    root = folder_for_results(Path(folder).expanduser())
    notes = []
    if chosen.n_failed:
        notes.append(f"Failed cells are left out: {chosen.n_failed}.")

    state: dict[PurePosixPath, str] = {}
    # Nothing is written to the folder before every result is known to be right.
    with tempfile.TemporaryDirectory(prefix="harness-") as scratch_dir:
        staged: list[tuple[Item, Path]] = []
        for number, item in enumerate(items(opened, chosen, submission, notes)):
            state[item.path] = _state(root, item)
            if state[item.path] != "unchanged":
                staged.append((item._replace(tables={}), _stage(Path(scratch_dir) / str(number), item)))
        different = sorted(str(path) for path, status in state.items() if status == "different")
        if different and not replace:
            more = f" and {len(different) - 1} more" if len(different) > 1 else ""
            raise StoreError(
                f"{root} has {different[0]}{more} with other content; nothing was written. Say --replace to replace "
                "results that were submitted before."
            )
        for item, tables in staged:
            _write(root, item, tables)
    new, replaced, unchanged = (
        sorted(str(path) for path, status in state.items() if status == name) for name in _STATES
    )
    return Submitted(root, new, replaced, unchanged, notes)


_STATES = ("new", "different", "unchanged")


def _state(root: Path, item: Item) -> str:
    """Return whether a result is "new", "unchanged", or there with "different" content.

    Raises:
        StoreError: a link or a folder has the path of the result.
    """
    if not (root / item.path).exists() and not (root / item.path).is_symlink():
        return "new"
    try:
        present = parse(read_bounded(root, item.path))
    except StoreError:
        return "different"
    if _compared(present) != _compared(item.document):
        return "different"
    stated = present.get("tables")
    if (stated or {}) == item.document.get("tables", {}) and all(_is_there(root, path) for path, _ in item.files()):
        return "unchanged"
    return "unchanged" if isinstance(stated, Mapping) and _has_tables(root, item, stated) else "different"


def _compared(document: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in document.items() if name not in _VARYING}
    if kept.get("kind") == "group" and isinstance(kept.get("scores"), dict):
        kept["scores"] = {
            key: {name: value for name, value in score.items() if name != "measured_at"}
            for key, score in kept["scores"].items()
            if isinstance(score, dict)
        }
    return render(kept)


def _is_there(root: Path, path: PurePosixPath) -> bool:
    return (root / path).is_file() and not (root / path).is_symlink()


def _has_tables(root: Path, item: Item, stated: Mapping[str, Any]) -> bool:
    """Return whether the tables in the folder have the same rows: another version of DuckDB writes other bytes."""
    if set(stated) != set(item.tables):
        return False
    for table, content in item.tables.items():
        try:
            present = read_bounded(root, table_file(item.path, table))
        except StoreError:
            return False
        if not same_rows(table, present, content):
            return False
    return True


def _stage(stage_dir: Path, item: Item) -> Path:
    """Write the tables of a result to a new folder, and return it."""
    stage_dir.mkdir()
    for table, content in item.tables.items():
        (stage_dir / table).write_bytes(content)
    return stage_dir


def _write(root: Path, item: Item, tables: Path) -> None:
    """Write a result: the tables first, so that a document never names a table that is not there."""
    for table in item.document.get("tables", {}):
        write_atomically(root, table_file(item.path, table), (tables / table).read_bytes())
    write_atomically(root, item.path, render(item.document).encode())
    for path in _leftovers(root, item):
        path.unlink()


def _leftovers(root: Path, item: Item) -> Iterator[Path]:
    """Yield the tables of the result that was replaced and that the new one does not have."""
    for table in TABLES:
        path = root / table_file(item.path, table)
        if table not in item.document.get("tables", {}) and path.is_file():
            yield path
