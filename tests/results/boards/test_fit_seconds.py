"""Time of fits on boards: the column of every store, and what is not ranked together."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from results import CellRecord, ScoreRecord, Store, leaderboard, open_store
from results.boards.columns import is_detail
from results.boards.lead_columns import group_of, metric_name
from results.comparison.compare import compare


def cell(name: str, seconds: float | None, minute: int = 0, **changes: Any) -> CellRecord:
    fields: dict[str, Any] = {
        "cell_id": f"{name}-{minute}",
        "status": "finished",
        "backbone": "b",
        "site": "s",
        "method": name,
        "token_seed": minute,
        "evaluation_fingerprint": "e",
        "probing_fingerprint": "p",
        "device": "cpu (X)",
        "fit_seconds": seconds,
        "started_at": datetime(2026, 1, 1, 0, minute, tzinfo=UTC),
        "environment": {"threads": 2},
    }
    return CellRecord(**(fields | changes))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "r.duckdb", read_only=False)


def columns(store: Store) -> dict[str, dict[str, float]]:
    """Column key -> label -> mean."""
    [board] = leaderboard(store)
    return {
        column.key: {row.label: row.metrics[column.key].mean for row in board.rows if column.key in row.metrics}
        for column in board.columns
    }


def test_the_time_is_a_column_of_a_store_that_has_no_such_score(store: Store) -> None:
    for minute, seconds in enumerate((1.0, 3.0)):
        store.record(cell("slow", seconds + 10, minute), [ScoreRecord(metric="r2", value=0.5)])
        store.record(cell("fast", seconds, minute), [ScoreRecord(metric="r2", value=0.5)])
    store.record(cell("untimed", None), [ScoreRecord(metric="r2", value=0.5)])
    store.record(cell("undefined", float("nan")), [ScoreRecord(metric="r2", value=0.5)])
    assert columns(store)["fit_seconds"] == {"slow": 12.0, "fast": 2.0}
    [board] = leaderboard(store, sort_by="fit_seconds")
    assert [row.label for row in board.rows[:2]] == ["fast", "slow"]
    [column] = board.columns_called(["fit_seconds"])
    assert (column.unit, column.direction, column.device, column.version) == ("s", "lower", "cpu (X)", 1)
    assert not is_detail(column) and group_of(column) == "cost"
    assert metric_name("fit_seconds") == "fit"


def test_times_of_other_threads_or_devices_are_not_ranked_together(store: Store) -> None:
    store.record(cell("two", 1.0), [])
    store.record(cell("one", 2.0, environment={"threads": 1}), [])
    store.record(cell("gpu", 3.0, device="cuda (H100)", environment={"threads": 16}), [])
    store.record(cell("old", 4.0, environment=None), [])
    by_label = {label: key for key, row in columns(store).items() for label in row}
    assert len(set(by_label.values())) == 4
    assert by_label["one"] == "fit_seconds[threads=1, cpu (X)]"
    # The threads of a GPU's host are no condition.
    assert "threads=" not in by_label["gpu"] and "cuda (H100)" in by_label["gpu"]


def test_a_loaded_fit_has_the_conditions_of_the_fit(store: Store) -> None:
    store.record(cell("a", 2.5, fit_id="f", environment={"threads": 8}), [])
    store.record(cell("b", 2.5, 1, fit_id="f"), [])
    store.record(cell("c", 2.5, 2, fit_id="f", device="cuda (H100)"), [])
    # Fitted again: another time of the same fit, and its own conditions.
    store.record(cell("d", 2.75, 3, fit_id="f"), [])
    times = columns(store)
    assert times == {"fit_seconds[threads=8]": {"a": 2.5, "b": 2.5}, "fit_seconds[threads=2]": {"d": 2.75}}
    [board] = leaderboard(store)
    assert "fit_seconds of c is left out: the fit was made on another device (cpu (X))." in board.notes


def test_a_fit_beside_another_one_is_not_timed(store: Store) -> None:
    for name, alone in (("a", True), ("b", False)):
        evidence = ScoreRecord(metric="evidence_gradients", value=0, direction="none", details={"alone": alone})
        store.record(cell(name, 1.0), [evidence])
    [board] = leaderboard(store)
    assert columns(store) == {"fit_seconds": {"a": 1.0}}
    assert board.notes == ("fit_seconds of b is left out: another fit ran in the same process at the same time.",)


def test_costs_are_compared_and_not_tested(store: Store) -> None:
    """Twice as many units have twice the parameters: no hypothesis, and no weight in the correction of the others."""
    for minute in range(4):
        for name, factor in (("a", 1.0), ("b", 2.0)):
            noise = 0.01 * (minute % 2)
            scores = [
                ScoreRecord(metric="quality", value=factor + noise),
                ScoreRecord(metric="parameters", value=factor * (1 + noise), unit="M", direction="lower"),
            ]
            store.record(cell(name, factor + noise, minute), scores)
    [comparison] = compare(store, "a", "b")
    by_metric = {difference.column.metric: difference for difference in comparison.differences}
    assert set(by_metric) == {"quality", "parameters", "fit_seconds"}
    for metric in ("parameters", "fit_seconds"):
        assert by_metric[metric].difference < 0 and by_metric[metric].p is None and by_metric[metric].better is None
