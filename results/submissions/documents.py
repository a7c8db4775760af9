"""Documents of a submission from rows of a store, and rows from documents: the same values to the bit.

Missing values are left out. NaN and infinities, which JSON lacks, are the texts "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from results.errors import StoreError
from results.store.canonical import canonical_json, short_hash
from results.store.json_columns import SHAPES
from results.store.records import grouped
from results.submissions.fields import CELL, FORMAT, GROUP, GROUP_SCORE, IMAGE, RUN, SCORE, TOURNAMENT, WIN_RATE

Row = Mapping[str, Any]
"""column -> value; times as microseconds since 1970, JSON decoded"""

#: Most points of a training curve; the first and the last one are always among them.
CURVE_POINTS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("started_at", "measured_at", "judged_at")
_KEY = re.compile(
    r"(?P<metric>[A-Za-z0-9_][A-Za-z0-9_.-]{0,199})@(?P<version>[1-9]\d{0,5})(?:#(?P<hash>[0-9a-f]{16}))?\Z"
)
_NO_PARAMS = short_hash([{}, None])


def from_row(row: Row, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of some columns as JSON content, without missing ones."""
    return {name: _json_value(name, row[name]) for name in names if row.get(name) is not None}


def _json_value(name: str, value: Any) -> Any:
    if name in _TIMES:
        try:
            return (_EPOCH + timedelta(microseconds=value)).isoformat()
        except (OverflowError, TypeError) as error:
            raise StoreError(
                f"A row of the store has an impossible time in {name!r}, so it cannot be submitted; `harness verify` "
                "names such rows."
            ) from error
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def to_row(content: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON content as column -> value that DuckDB can bind; a missing value is None."""
    return {name: _bindable(name, content.get(name)) for name in names}


def _bindable(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in SHAPES:
        return canonical_json(value)
    if name in _TIMES:
        return datetime.fromisoformat(value)
    return float(value) if value in ("NaN", "Infinity", "-Infinity") and name in _NUMBERS else value


#: Columns in which NaN and infinities are values.
_NUMBERS = ("value", "uncertainty", "agreement", *(name for name in WIN_RATE if name not in ("label", "config_id")))


# Cells


def cell_document(
    row: Row,
    run: Row | None,
    scores: Sequence[Row],
    curves: Sequence[Row],
    *,
    tables: Mapping[str, Mapping[str, Any]],
    flags: Mapping[str, str],
    submission: Mapping[str, str],
) -> dict[str, Any]:
    """Return the document of a cell.

    Args:
        row: of the table `cells`, with `identity`.
        run: its row of the table `runs`, if the store has it.
        curves: points of its training curves, by series and step.
        tables: table -> number of rows and hash of its Parquet file.
        flags: flag -> sentence, of those that follow from the cell's own scores.
        submission: what the sender says.
    """
    document = {
        "format": FORMAT,
        "kind": "cell",
        "cell_id": row["cell_id"],
        "cell": from_row(row, CELL),
        "identity": row["identity"],
        "scores": {
            score_key(score["metric"], score["version"], params_hash(score)): from_row(score, SCORE) for score in scores
        },
        "flags": dict(flags),
        "tables": {name: dict(table) for name, table in tables.items()},
        "submission": dict(submission),
    }
    for score in document["scores"].values():
        if not score.get("params"):
            score.pop("params", None)
    if run is not None:
        document["run"] = from_row(run, RUN)
    measured = [point for point in curves if point["value"] is not None]
    if measured:
        series = grouped(measured, lambda point: str(point["series"]))
        document["curves"] = {name: _thinned(points) for name, points in series.items()}
    return document


def score_key(metric: str, version: int, hashed: str) -> str:
    """Return the key of a score: its metric and version, and the hash of parameters and judge panel if it has any."""
    return f"{metric}@{version}" + ("" if hashed == _NO_PARAMS else f"#{hashed}")


def params_hash(score: Mapping[str, Any]) -> str:
    """Return the hash of a score's parameters and judge panel, which is part of its key in the store."""
    return short_hash([score.get("params") or {}, score.get("panel")])


def key_parts(key: str) -> tuple[str, int, str] | None:
    """Return metric, version and hash of the parameters of a score's key; None if it is no such key."""
    parts = _KEY.match(key)
    return None if parts is None else (parts["metric"], int(parts["version"]), parts["hash"] or _NO_PARAMS)


def _thinned(points: Sequence[Row]) -> dict[str, list[Any]]:
    kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), CURVE_POINTS)).round().astype(int))
    return {
        "step": [points[index]["step"] for index in kept],
        "value": [_json_value("value", points[index]["value"]) for index in kept],
    }


def cell_rows(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return table -> rows of the document of a cell, which has no problems."""
    cell_id, run = document["cell_id"], document.get("run")
    cell = {
        "cell_id": cell_id,
        "status": "finished",
        **to_row(document["cell"], CELL),
        "identity": canonical_json(document["identity"]),
        "run_id": None if run is None else run["run_id"],
    }
    scores = []
    for key, score in document["scores"].items():
        metric, version, hashed = key_parts(key) or ("", 0, "")
        named = {"cell_id": cell_id, "metric": metric, "version": version, "params_hash": hashed}
        scores.append({**named, **to_row({"params": {}, **score}, SCORE)})
    curves = [
        {"cell_id": cell_id, "series": series, "step": step, "value": _bindable("value", value)}
        for series, points in document.get("curves", {}).items()
        for step, value in zip(points["step"], points["value"], strict=True)
    ]
    runs = [] if run is None else [{**to_row(run, RUN), "status": "finished"}]
    return {"cells": [cell], "scores": scores, "curves": curves, "runs": runs}


# Scores of several cells, images, tournaments


def group_document(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the document of the scores of one group of cells."""
    return {
        "format": FORMAT,
        "kind": "group",
        "group_id": rows[0]["group_id"],
        "group": from_row(rows[0], GROUP),
        "scores": {f"{row['metric']}@{row['version']}": from_row(row, GROUP_SCORE) for row in rows},
    }


def group_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `group_scores` of a document, which has no problems."""
    rows = []
    for key, score in document["scores"].items():
        metric, version, _ = key_parts(key) or ("", 0, "")
        named = {"group_id": document["group_id"], **to_row(document["group"], GROUP)}
        rows.append({**named, "metric": metric, "version": version, **to_row({"params": {}, **score}, GROUP_SCORE)})
    return rows


def images_document(fingerprint: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the document of the images of an evaluation split: names and classes, no pixels."""
    return {
        "format": FORMAT,
        "kind": "images",
        "fingerprint": fingerprint,
        "images": [from_row(row, IMAGE) for row in rows],
    }


def image_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `images` of a document, which has no problems."""
    return [{"dataset": document["fingerprint"], **to_row(image, IMAGE)} for image in document["images"]]


def tournament_document(row: Row, win_rates: Sequence[Row], tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the document of a tournament."""
    return {
        "format": FORMAT,
        "kind": "tournament",
        "tournament": row["tournament"],
        "judging": from_row(row, TOURNAMENT),
        "win_rates": [from_row(rate, WIN_RATE) for rate in win_rates],
        "tables": {name: dict(table) for name, table in tables.items()},
    }


def tournament_rows(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return table -> rows of the document of a tournament, which has no problems."""
    named = {"tournament": document["tournament"]}
    return {
        "tournaments": [{**named, **to_row(document["judging"], TOURNAMENT)}],
        "win_rates": [{**named, **to_row(rate, WIN_RATE)} for rate in document["win_rates"]],
    }
