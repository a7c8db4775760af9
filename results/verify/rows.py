"""Checks of rows and their references: cells, runs, identities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from results.boards.board import BoardKey
from results.store.canonical import canonical_json
from results.store.records import records_of
from results.verify.base import Checker, Content, check


@check("orphans")
def orphans(content: Content, checker: Checker) -> None:
    """Check that scores, units, curves and win rates belong to existing cells, and to none that failed."""
    failed = {cell["cell_id"] for cell in content.cells if cell["status"] == "failed"}
    for table in ("scores", "units", "curves"):
        frame = content.store.query(f"SELECT cell_id, count(*) AS n FROM {table} GROUP BY cell_id ORDER BY cell_id")
        checker.n += 1
        for cell_id, n in zip(frame["cell_id"], frame["n"], strict=True):
            if cell_id not in content.names:
                reason = f"are of the cell {cell_id}, which does not exist."
                checker.require(False, f"{n} rows of {table}", reason, cell_id)
            elif cell_id in failed:
                reason = f"are of {content.names[cell_id]}, which has failed."
                checker.require(False, f"{n} rows of {table}", reason, cell_id)
    for table in ("win_rates", "group_scores"):
        frame = content.store.query(f"SELECT label, cell_ids FROM {table}")
        for label, ids in zip(frame["label"], frame["cell_ids"], strict=True):
            absent = [one for one in ids_of(ids) if one not in content.names]
            checker.require(
                not absent, f"{table} of {label}", f"are over cells that do not exist: {', '.join(absent)}."
            )


@check("identity")
def identity(content: Content, checker: Checker) -> None:
    """Check that a cell's id is the hash of its identity, and that its columns agree with the identity."""
    for cell in content.cells:
        identity_fields = cell["identity"] or {}
        if "cell" not in identity_fields:
            continue  # made by hand, not by a run
        where, cell_id = content.names[cell["cell_id"]], cell["cell_id"]
        hashed = hashlib.blake2b(canonical_json(identity_fields).encode(), digest_size=32).hexdigest()[: len(cell_id)]
        checker.require(
            hashed == cell_id, where, f"has an identity with the hash {hashed}, which is not its id.", cell_id
        )
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
                checker.require(cell[column] == expected, where, reason, cell_id)


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
        checker.require(
            twin is None,
            content.names[cell["cell_id"]],
            f"has the same seeds, configuration and metrics as the cell {str(twin)[:8]}: both would be counted.",
            cell["cell_id"],
        )
        seen.setdefault(key, cell["cell_id"])


@check("plan")
def plan(content: Content, checker: Checker) -> None:
    """Check that a finished run has no more cells than planned, and that a finished cell has scores."""
    for run in records_of(content.store.runs()):
        planned, done = run["n_planned"], run["n_finished"] + run["n_failed"]
        if planned is not None:
            checker.require(
                done <= planned,
                f"run {run['run_id']}",
                f"planned {planned} cells and recorded {done}.",
            )
    for cell in content.finished():
        checker.require(
            bool(content.by_cell.get(cell["cell_id"])), content.names[cell["cell_id"]], "is finished and has no score."
        )


def ids_of(value: Any) -> list[str]:
    """Return the cell ids of a JSON column, decoded or not."""
    ids: Sequence[Any] | Mapping[str, Any] = json.loads(value) if isinstance(value, str) else (value or [])
    return [str(one) for one in ids]
