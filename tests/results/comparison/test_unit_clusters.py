"""Unit rows as clusters: when the rows of the cells give the score, and when the scores are compared alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from results.comparison.unit_clusters import UnitClusters, UnitReader
from results.store import frames, schema


def unit_clusters(values: dict[str, list[float]]) -> UnitClusters:
    """Two pairs of seeds, of the cells a1 and b1, a2 and b2; values are the unit rows of each cell."""
    rows = [(cell, unit, value) for cell, unit_values in values.items() for unit, value in enumerate(unit_values)]
    opened = duckdb.connect()
    opened.execute(schema.schema_sql())
    opened.executemany("INSERT INTO units (cell_id, unit, ms_score, alive) VALUES (?, ?, ?, true)", rows)

    def query(sql: str, params: list[Any]) -> pd.DataFrame:
        opened.execute(sql, params)
        return frames.fetch(opened)

    store: Any = SimpleNamespace(query=query)
    a, b = ([[{"cell_id": f"{side}{seed}"}] for seed in (1, 2)] for side in "ab")
    return UnitClusters(UnitReader(store), a, b, itself=False)


ROWS = {"a1": [0.5, 0.7], "a2": [0.1, 0.3], "b1": [0.2, 0.4], "b2": [0.0, 0.2]}
A, B = np.array([0.6, 0.2]), np.array([0.3, 0.1])


def test_units_whose_mean_is_the_score_are_clusters() -> None:
    blocks, words = unit_clusters(ROWS).blocks("ms_score", [0, 1], A, B)
    assert [block.sums.tolist() for block in blocks] == [[[0.5, 0.1], [0.7, 0.3]], [[0.2, 0.0], [0.4, 0.2]]]
    assert words == "2 units of A and 2 units of B resampled separately"


def test_without_the_unit_rows_of_one_cell_the_scores_are_compared_alone() -> None:
    for missing in ROWS:
        others = {cell: unit_values for cell, unit_values in ROWS.items() if cell != missing}
        assert unit_clusters(others).blocks("ms_score", [0, 1], A, B) == ([], "")


def test_units_whose_mean_is_not_the_score_are_no_clusters() -> None:
    assert unit_clusters(ROWS).blocks("ms_score", [0, 1], A + 0.01, B) == ([], "")


def test_a_metric_that_averages_no_units_has_no_clusters() -> None:
    assert unit_clusters(ROWS).blocks("r2", [0, 1], A, B) == ([], "")
