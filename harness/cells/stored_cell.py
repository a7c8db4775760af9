"""Finished cell of a store, looked up by its id or name, and compared with the file of its fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.cells.named_cell import named_cell
from harness.errors import UserError
from harness.identity import digest
from methods.base import read_header
from methods.file_settings import PREFIX
from results.store import Store
from results.store.artifacts import artifact_file
from results.store.records import records_of
from results.visible_text import one_line

#: Most characters of a cell's identity as JSON.
LARGEST_IDENTITY = 1_000_000


def finished_cell(store: Store, name: str) -> Mapping[str, Any]:
    """Return the row of ``Store.cells()`` with this id, its first digits, or the name of a row with one finished cell.

    Raises:
        UserError: if no cell or several have the name, or if the cell failed or its record contradicts its id.
    """
    cell = named_cell(records_of(store.cells()), name)
    if cell["status"] != "finished":
        raise UserError(f"The cell {cell['cell_id']} has failed: only finished cells have weights.")
    _require_identity(cell)
    return cell


def _require_identity(cell: Mapping[str, Any]) -> None:
    """Check that a cell's id is the hash of its identity, and that its columns agree with it."""
    identity = cell["identity"]
    if not isinstance(identity, dict):
        raise UserError(f"The cell {cell['cell_id']} has no recorded identity: run it again.")
    if len(json.dumps(identity)) > LARGEST_IDENTITY:
        raise UserError(f"The identity of the cell {cell['cell_id']} has more than {LARGEST_IDENTITY} characters.")
    method = part_of(identity, "method")
    recorded = (method.get("name"), identity.get("backbone"), identity.get("site"), method.get("config"))
    if _digest(identity) != cell["cell_id"] or recorded != tuple(
        cell[name] for name in ("method", "backbone", "site", "config")
    ):
        raise UserError(
            f"The record of the cell {cell['cell_id']} contradicts its id, so the store was changed after it was "
            "written: run the cell again."
        )


def _digest(identity: dict[str, Any]) -> str:
    try:
        return digest(identity)
    except (ValueError, TypeError, RecursionError):  # NaN, or what no run writes
        return ""


def fit_file(store: Store, cell: Mapping[str, Any]) -> Path:
    """Return the file of a cell's fit, of the method and settings that its record names.

    Raises:
        UserError: if there is none beside the store, or it is of another method or other settings.
    """
    cell_id, name = cell["cell_id"], cell["artifact"]
    if not name:
        raise UserError(f"The cell {cell_id} has no saved fit: run it again with `harness run --rerun`.")
    file = artifact_file(store.path.parent, str(name))
    if file is None or not file.is_file():
        raise UserError(
            f"The saved fit of the cell {cell_id} is not beside the store ({one_line(name)}): copy the folder "
            "artifacts/ as well, or run the cell again."
        )
    header = read_header(file)
    if header["method"] != cell["method"] or not _same(header["config"], cell["config"]):
        raise UserError(
            f"The saved fit of the cell {cell_id} ({file.name}) has another method or other settings than the cell: "
            "run the cell again."
        )
    return file


def _same(saved: Any, recorded: Any) -> bool:
    """Return True if settings of a file are the recorded ones; a recorded ``content:HASH`` stands for any path."""
    if isinstance(recorded, str) and recorded.startswith(PREFIX):
        return isinstance(saved, str)
    if isinstance(saved, dict) and isinstance(recorded, dict):
        return saved.keys() == recorded.keys() and all(_same(saved[key], recorded[key]) for key in saved)
    if isinstance(saved, list) and isinstance(recorded, list):
        return len(saved) == len(recorded) and all(map(_same, saved, recorded))
    return bool(saved == recorded)


def part_of(identity: Any, name: str) -> dict[str, Any]:
    """Return a part of a cell's recorded identity; empty if it has none."""
    part = identity.get(name) if isinstance(identity, dict) else None
    return part if isinstance(part, dict) else {}
