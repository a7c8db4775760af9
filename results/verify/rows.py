"""Checks of rows and their references: cells, runs, identities."""

from __future__ import annotations

from typing import Any

from results.boards.board import BoardKey
from results.store.canonical import identity_hash
from results.store.cell_rows import CELL_TABLES
from results.store.records import records_of
from results.store.store import decoded
from results.verify.base import Checker, Content, check


@check("orphans")
def orphans(content: Content, checker: Checker) -> None:
    """Check that scores, units, curves and win rates belong to existing cells, and to none that failed."""
    failed = {cell["cell_id"] for cell in content.cells if cell["status"] == "failed"}
    for table in CELL_TABLES[:-1]:
        frame = content.store.query(f"SELECT cell_id, count(*) AS n FROM {table} GROUP BY cell_id ORDER BY cell_id")
        checker.n += 1
        for cell_id, n in zip(frame["cell_id"], frame["n"], strict=True):
            if cell_id not in content.names or cell_id in failed:
                owner = (
                    f"{content.names[cell_id]}, which has failed"
                    if cell_id in failed
                    else f"the cell {cell_id}, which does not exist"
                )
                checker.require(False, f"{n} rows of {table}", f"are of {owner}.", cell_id)
    for table in ("win_rates", "group_scores"):
        for row in records_of(decoded(content.store.query(f"SELECT label, cell_ids FROM {table}"))):
            absent = [cell_id for cell_id in map(str, row["cell_ids"] or ()) if cell_id not in content.names]
            reason = f"are over cells that do not exist: {', '.join(absent)}."
            checker.require(not absent, f"{table} of {row['label']}", reason)


@check("identity")
def identity(content: Content, checker: Checker) -> None:
    """Check that a cell's id is the hash of its identity, and that its columns agree with the identity."""
    for cell in content.cells:
        identity_fields = cell["identity"] or {}
        if "cell" not in identity_fields:
            continue  # made by hand, not by a run
        cell_id = cell["cell_id"]
        hashed = identity_hash(identity_fields, len(cell_id))
        checker.require_of(cell_id, hashed == cell_id, f"has an identity with the hash {hashed}, which is not its id.")
        method = identity_fields.get("method") or {}
        for name, column, expected in (
            ("backbone", "backbone", identity_fields.get("backbone")),
            ("site", "site", identity_fields.get("site")),
            ("token seed", "token_seed", identity_fields.get("token_seed")),
            ("init seed", "init_seed", identity_fields.get("init_seed")),
            ("method", "method", method.get("name")),
            ("configuration", "config", method.get("config")),
        ):
            if expected is not None:
                reason = f"has the {name} {cell[column]!r} in its row and {expected!r} in its identity."
                checker.require_of(cell_id, cell[column] == expected, reason)


@check("seeds")
def seeds(content: Content, checker: Checker) -> None:
    """Check that there is one finished cell per method, configuration, layer, sets, seeds, and identity."""
    seen: dict[tuple[Any, ...], str] = {}
    for cell in content.finished():
        identity_fields = cell["identity"] or {}
        key = (
            *(cell[name] for name in BoardKey._fields),
            *(cell[name] for name in ("method", "config_id", "label", "token_seed", "init_seed")),
            # A new version of a metric makes a new cell of the same seeds, which is valid.
            str(sorted((identity_fields.get("metrics") or {}).items(), key=str)),
            str((identity_fields.get("evaluation") or {}).get("top_images")),
        )
        twin = seen.get(key)
        reason = f"has the same seeds, configuration and metrics as the cell {str(twin)[:8]}: both would be counted."
        checker.require_of(cell["cell_id"], twin is None, reason)
        seen.setdefault(key, cell["cell_id"])


@check("plan")
def plan(content: Content, checker: Checker) -> None:
    """Check that a finished run has no more cells than planned, and that a finished cell has scores."""
    for run in records_of(content.store.runs()):
        planned, done = run["n_planned"], run["n_finished"] + run["n_failed"]
        if planned is not None:
            reason = f"planned {planned} cells and recorded {done}."
            checker.require(done <= planned, f"run {run['run_id']}", reason)
    for cell in content.finished():
        checker.require(
            bool(content.by_cell.get(cell["cell_id"])), content.names[cell["cell_id"]], "is finished and has no score."
        )
