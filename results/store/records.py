"""Records that a run writes: one RunRecord, and per cell a CellRecord with its ScoreRecords."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from results.errors import StoreError
from results.store.canonical import canonical_json, short_hash, storable_text

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance

RUN_STATUSES = ("running", "finished", "interrupted")
CELL_STATUSES = ("finished", "failed")
DIRECTIONS = ("higher", "lower", "none")

#: Metric -> column of `units` of which it is the mean over the alive units. Stores from before schema version 5 lack
#: the values of the columns that it added: `ms_score_null` was another metric in them.
UNIT_MEANS: Mapping[str, str] = {
    "ms_score": "ms_score",
    "ms_score_null": "ms_score_null",
    "unit_overlap": "redundancy",
    "class_purity": "class_purity",
    "class_purity_chance": "class_purity_chance",
    "polysemanticity": "polysemanticity",
}


def config_id_of(method: str, config: Mapping[str, Any]) -> str:
    """Return the id under which cells of one method and one configuration are averaged over seeds (16 hex digits)."""
    return short_hash([method, config])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One invocation of a suite.

    Attributes:
        run_id: unique, chosen by the caller.
        suite: suite name.
        command: the command line; the caller must leave out machine paths.
        started_at: timezone-aware; default now.
        code_revision: revision of the program, if known.
        versions: package name -> version.
        device: name of the accelerator.
        n_planned: number of planned cells.
    """

    run_id: str
    suite: str | None = None
    command: str | None = None
    started_at: datetime = dataclasses.field(default_factory=lambda: datetime.now(UTC))
    code_revision: str | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    device: str | None = None
    n_planned: int | None = None

    def __post_init__(self) -> None:
        _require_aware(self.started_at, "RunRecord.started_at")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One finished or failed unit of work; the columns are explained in schema.sql.

    Attributes:
        cell_id: hash of `identity`, computed by the harness.
        status: "finished" or "failed".
        label: name on the leaderboard; "" means the method's name.
        config_id: "" means the hash of method and config (`config_id_of`).
        started_at: timezone-aware, or None.
        notes: important sentences for readers of a score.
        fit_id: hash of everything that the fitted method depends on, computed by the harness.
        environment: processor, threads and libraries in force while the cell was computed.

    Raises:
        StoreError: an unknown status, or a naive datetime.
    """

    cell_id: str
    status: str
    backbone: str
    site: str
    method: str
    run_id: str | None = None
    suite: str | None = None
    backbone_title: str | None = None
    dataset: str | None = None
    probing_fingerprint: str | None = None
    evaluation_fingerprint: str | None = None
    label: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config_id: str = ""
    token_seed: int | None = None
    init_seed: int | None = None
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    started_at: datetime | None = None
    seconds: float | None = None
    fit_seconds: float | None = None
    device: str | None = None
    dtype: str | None = None
    d_in: int | None = None
    d_out: int | None = None
    n_units: int | None = None
    claims: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    artifact: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    notes: Sequence[str] = ()
    fit_id: str | None = None
    environment: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _require_one_of(self.status, CELL_STATUSES, "CellRecord.status")
        if self.started_at is not None:
            _require_aware(self.started_at, "CellRecord.started_at")
        # A frozen dataclass fills its own defaults this way; nothing changes after construction.
        object.__setattr__(self, "label", self.label or self.method)
        object.__setattr__(self, "config_id", self.config_id or config_id_of(self.method, self.config))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number, with everything needed to interpret it.

    Attributes:
        metric: metric id, e.g. "ms_score"; ids starting with "floor_" are shown as footers, not columns.
        value: NaN for "undefined", None for "missing".
        version: of the metric's definition.
        params: of the metric; rows that differ in them are never ranked together.
        uncertainty: one standard error in the unit of value; None when there is no estimate.
        uncertainty_kind: how it was estimated.
        n: number of observations.
        unit: "fraction" is printed as a percentage; "" is a bare number.
        direction: "higher", "lower" or "none": which is better.
        details: further evidence and conditions; they are not part of a score's key.

    Raises:
        StoreError: an unknown direction.
    """

    metric: str
    value: float | None
    version: int = 1
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    uncertainty: float | None = None
    uncertainty_kind: str | None = None
    n: int | None = None
    unit: str = ""
    direction: str = "higher"
    details: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _require_one_of(self.direction, DIRECTIONS, f"{type(self).__name__}.direction")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreRecord(Measurement):
    """One measurement of one cell.

    Attributes:
        evaluation_fingerprint: None means the cell's own.
        panel: judge panel id of a judged metric.
        seconds: time the metric took.
    """

    evaluation_fingerprint: str | None = None
    panel: str | None = None
    seconds: float | None = None

    @property
    def params_hash(self) -> str:
        """Hash of parameters and panel: with metric and version it identifies a score of a cell."""
        return short_hash([self.params, self.panel])


def row_of(record: DataclassInstance) -> dict[str, Any]:
    """Return a record as column -> value in a form that DuckDB can bind."""
    return {field.name: bindable(getattr(record, field.name)) for field in dataclasses.fields(record)}


def bindable(value: Any) -> Any:
    """Return a value DuckDB can bind: mappings and lists as JSON text, scalars as Python's, missing ones as None."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, (Mapping, Sequence)):
        return canonical_json(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    # A NumPy or torch scalar, without importing torch to ask.
    return value.item() if hasattr(value, "item") else value


def _require_aware(moment: datetime, name: str) -> None:
    if moment.tzinfo is None:
        raise StoreError(f"{name} is {moment.isoformat()} without a time zone; use datetime.now(UTC).")


def _require_one_of(value: str, allowed: Sequence[str], name: str) -> None:
    if value not in allowed:
        raise StoreError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}.")


# Units of values that depend on the machine rather than on the method.
DEVICE_UNITS = frozenset({"s", "ms", "us", "B", "kB", "KB", "MB", "GB", "KiB", "MiB", "GiB", "images/s", "tokens/s"})


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries, missing values as None; NaN stays in the columns in which it is a value."""
    import pandas as pd  # imported here, so that `import results` stays light

    def cleaned(name: str, value: Any) -> Any:
        if value is pd.NA or value is pd.NaT:
            return None
        if isinstance(value, float) and math.isnan(value) and name != "value":
            return None
        return value

    return [{name: cleaned(str(name), value) for name, value in row.items()} for row in frame.to_dict("records")]


_Item = TypeVar("_Item")
_Key = TypeVar("_Key")


def grouped(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """Return the items of each key, keys in the order of their first item."""
    groups: dict[_Key, list[_Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def scores_by_metric(frame: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Return cell id -> metric -> row of `Store.scores()`; the last one of several with a metric."""
    scores = grouped(records_of(frame), lambda score: score["cell_id"])
    return {cell_id: {score["metric"]: score for score in cell_scores} for cell_id, cell_scores in scores.items()}


#: Setting of a tournament, and its value for panels that judges join freely: the panel on a comparison are those who
#: answered it, so that more than half of them decide. Without it, the panel are all judges.
CONSENSUS, OF_ANSWERS = "consensus", "of those who answered"


def consensus_of_answers(settings: Mapping[str, Any] | None) -> bool:
    """Return whether the panel on each comparison of a tournament are those who answered it, from its settings."""
    return (settings or {}).get(CONSENSUS) == OF_ANSWERS


def win_rate_version(settings: Mapping[str, Any] | None) -> int:
    """Return the version of the win rate by which a tournament was scored, from its settings; 1 if they have none."""
    version = (settings or {}).get("version")
    return version if isinstance(version, int) and version > 0 else 1
