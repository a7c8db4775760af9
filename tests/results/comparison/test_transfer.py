"""Units of one fit on two image sets: closed forms, intervals, labels, and what is no pair."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from results.comparison import transfer
from results.comparison.transfer import as_json, rank_correlation, transfers
from results.store.further_set import FURTHER_SET, is_on_further_set


def cell(cell_id: str, fit: str, images: str, started: int = 0, **values: Any) -> dict[str, Any]:
    defaults = {
        "cell_id": cell_id, "fit_id": fit, "evaluation_fingerprint": images, "dataset": f"folder:{images}",
        "backbone": "b", "site": "s", "label": "TopK SAE", "token_seed": 42, "init_seed": 1, "status": "finished",
        "started_at": started,
    }  # fmt: skip
    return {**defaults, **values}


SCORES = ["cell_id", "metric", "version", "params_hash", "value", "uncertainty", "n", "details"]


class Stored:
    """Cells and units in memory."""

    def __init__(
        self, cells: list[dict[str, Any]], units: dict[str, pd.DataFrame], scores: pd.DataFrame | None = None
    ) -> None:
        self._cells, self._units = cells, units
        self._scores = pd.DataFrame(columns=SCORES) if scores is None else scores

    def cells(self) -> pd.DataFrame:
        return pd.DataFrame(self._cells)

    def units(self, cell_id: str) -> pd.DataFrame:
        return self._units[cell_id]

    def scores(self, cell_id: str) -> pd.DataFrame:
        return self._scores[self._scores["cell_id"] == cell_id]


def units(scores: np.ndarray, alive: np.ndarray | None = None, **columns: Any) -> pd.DataFrame:
    n = len(scores)
    alive = np.ones(n, dtype=bool) if alive is None else alive
    return pd.DataFrame({"unit": np.arange(n), "alive": alive, "ms_score": scores, "parent": None, **columns})


@pytest.fixture
def unlabelled(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = pd.DataFrame({"scorer": [], "unit": [], "label": [], "p_value": []})
    monkeypatch.setattr(transfer, "unit_labels", lambda store, cell_id, most: empty)


@pytest.mark.usefixtures("unlabelled")
def test_pairs_are_of_one_fit_and_the_first_set_is_the_one_measured_first() -> None:
    scores = np.linspace(0, 1, 20)
    cells = [
        cell("b", "f", "second", 2), cell("a", "f", "first", 1), cell("c", "f", "third", 3),
        cell("d", "other", "second", 4), cell("e", "f", "fourth", 5, status="failed"), cell("g", "f", "second", 9),
    ]  # fmt: skip
    stored: Any = Stored(cells, {name: units(scores) for name in "abcdg"})
    made = transfers(stored)
    assert [(each.first_cell, each.second_cell) for each in made] == [("a", "b"), ("a", "c")]
    assert (made[0].first, made[0].second) == ("folder:first", "folder:second")
    assert made[0].rank_correlation == made[0].low == made[0].high == pytest.approx(1)
    assert made[0].kept_alive == 1 and made[0].n == 20 and made[0].scorer is None
    assert next(as_json(made))["same_label"] is None


@pytest.mark.usefixtures("unlabelled")
@pytest.mark.parametrize(
    "further",
    [{"notes": ["a fit", f"{FURTHER_SET}methods are evaluated elsewhere."]}, {"suite": "demo on folder:second"}],
)
def test_the_first_set_is_that_of_the_fit_if_it_was_measured_later(further: dict[str, Any]) -> None:
    cells = [
        cell("b", "f", "second", 1, **further), cell("a", "f", "first", 2, notes=[f"not a {FURTHER_SET}"]),
        cell("c", "f", "first", 3, suite="demo"), cell("d", "f", "second", 4),
    ]  # fmt: skip
    stored: Any = Stored(cells, {name: units(np.linspace(0, 1, 20)) for name in "abcd"})
    (made,) = transfers(stored)
    assert (made.first_cell, made.second_cell, made.fitted_on_first) == ("a", "b", True)
    assert (made.first, made.second) == ("folder:first", "folder:second")


@pytest.mark.usefixtures("unlabelled")
def test_two_further_sets_without_the_set_of_the_fit_say_so() -> None:
    notes = [f"{FURTHER_SET}methods are evaluated elsewhere."]
    cells = [cell("a", "f", "second", 1, notes=notes), cell("b", "f", "third", 2, notes=notes)]
    stored: Any = Stored(cells, {name: units(np.linspace(0, 1, 20)) for name in "ab"})
    (made,) = transfers(stored)
    assert not made.fitted_on_first and (made.first_cell, made.second_cell) == ("a", "b")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({}, False),
        ({"notes": None, "suite": None, "dataset": "x"}, False),
        ({"notes": "Further image set: ", "suite": math.nan, "dataset": "x"}, False),
        ({"notes": [3, None, FURTHER_SET], "suite": "demo", "dataset": "x"}, True),
        ({"notes": [], "suite": "demo on x", "dataset": "x"}, True),
        ({"notes": [], "suite": "demo on ", "dataset": ""}, False),
    ],
)
def test_cells_of_further_sets_are_told_by_their_notes_or_suites(stored: dict[str, Any], expected: bool) -> None:
    assert is_on_further_set(stored) is expected


@pytest.mark.usefixtures("unlabelled")
def test_probes_are_read_from_all_cells_of_a_set() -> None:
    """The cells of a set differ in their metrics: another run added the probes."""
    cells = [
        cell("a", "f", "first", 1), cell("b", "f", "second", 2), cell("c", "f", "first", 3), cell("d", "f", "second", 4)
    ]  # fmt: skip
    scores = pd.DataFrame(
        [
            ("c", "sparse_probe_k", 1, "p", 0.6, 0.02, 100, None),
            ("d", "sparse_probe_k", 1, "p", 0.4, 0.02, 80, None),
            ("d", "probe_transfer", 1, "p", 0.75, math.sqrt(0.75 * 0.25 / 80), 80, {"first": 0.8}),
            ("d", "probe_transfer_gain", 1, "p", -0.1, 0.04, 80, None),
            ("d", "probe_transfer_gain_change", 1, "q", -0.2, 0.05, 180, None),
        ],
        columns=SCORES,
    )
    stored: Any = Stored(cells, {name: units(np.linspace(0, 1, 20)) for name in "abcd"}, scores)
    (made,) = transfers(stored)
    probes = made.probes
    assert (probes.sparse_first, probes.sparse_second) == (0.6, 0.4)
    # Wilson's interval of 60 of 80 images.
    assert (probes.probe_low, probes.probe_high) == pytest.approx((0.6452, 0.8319), abs=1e-4)
    assert (probes.gain_low, probes.gain_high) == pytest.approx((-0.1 - 1.96 * 0.04, -0.1 + 1.96 * 0.04), abs=1e-4)
    assert probes.probe_first == 0.8 and probes.change == -0.2
    assert (probes.change_low, probes.change_high) == pytest.approx((-0.298, -0.102), abs=1e-4)
    (plain,) = as_json([made])
    assert plain["probes"] == probes._asdict() and plain["fitted_on_first"] is True


@pytest.mark.usefixtures("unlabelled")
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], [None] * 12),
        # Versions and parameters that differ are no pair; a missing version is none.
        ([("a", "sparse_probe_k", 1, "p", 0.6, 0.1, 9), ("b", "sparse_probe_k", 1, "q", 0.6, 0.1, 9)], [None] * 12),
        ([("a", "sparse_probe_k", 1, "p", 0.6, 0.1, 9), ("b", "sparse_probe_k", 2, "p", 0.6, 0.1, 9)], [None] * 12),
        (
            [("a", "sparse_probe_k", None, "p", 0.6, 0.1, 9), ("b", "sparse_probe_k", None, "p", 0.6, 0.1, 9)],
            [None] * 12,
        ),
        # The newest version of a score, and values that no run writes.
        (
            [("b", "probe_transfer", 1, "p", 0.5, 0.1, 9), ("b", "probe_transfer", 2, "p", 0.25, None, 9)],
            [None, None, None, 0.25, *[None] * 8],
        ),
        ([("b", "probe_transfer", 1, "p", 7.0, 0.1, 9)], [None, None, None, 7.0, *[None] * 8]),
        ([("b", "probe_transfer", 1, "p", math.inf, 0.1, 9, "text")], [None] * 12),
        ([("b", "probe_transfer", 1, "p", 0.5, None, 9, {"first": "x"})], [None, None, None, 0.5, *[None] * 8]),
        (
            [("b", "probe_transfer_gain", 1, "p", 1e308, 1e308, 9)],
            [*[None] * 6, 1e308, *[None] * 5],
        ),
        ([("b", "probe_transfer_gain", 1, "p", 0.25, -1.0, 9)], [*[None] * 6, 0.25, *[None] * 5]),
    ],
)
def test_probes_that_were_not_measured_or_are_not_comparable(rows: list[Any], expected: list[float | None]) -> None:
    scores = pd.DataFrame([(*row, None)[: len(SCORES)] for row in rows], columns=SCORES)
    stored: Any = Stored(
        [cell("a", "f", "first", 1), cell("b", "f", "second", 2)],
        {name: units(np.linspace(0, 1, 20)) for name in "ab"},
        scores,
    )
    assert list(next(as_json(transfers(stored)))["probes"].values()) == expected


@pytest.mark.usefixtures("unlabelled")
@pytest.mark.parametrize(
    ("cells", "columns"),
    [
        ({}, {"alive": pd.array([True] * 19 + [None], dtype="boolean")}),
        ({}, {"unit": [0, 0, *range(2, 20)]}),
        ({"token_seed": None, "init_seed": math.nan}, {}),
        ({}, {"parent": 3}),
    ],
)
def test_a_store_with_missing_values_or_units_that_occur_twice_is_compared(
    cells: dict[str, Any], columns: dict[str, Any]
) -> None:
    scores = np.random.default_rng(0).random((2, 20))
    stored: Any = Stored(
        [cell("a", "f", "first", 1, **cells), cell("b", "f", "second", 2, **cells)],
        {"a": units(scores[0]).assign(**columns), "b": units(scores[1])},
    )
    (made,) = transfers(stored)
    assert made.n >= 19 and made.token_seed == (None if cells else 42)


def test_one_cluster_has_no_interval() -> None:
    x, y = np.random.default_rng(0).random((2, 20))
    value, low, high = rank_correlation(x, y, np.zeros(20), 0)
    assert math.isfinite(value) and math.isnan(low) and math.isnan(high)


@pytest.mark.usefixtures("unlabelled")
def test_dead_and_undefined_units_are_left_out() -> None:
    scores = np.linspace(0, 1, 20)
    second = -scores.copy()
    second[3] = math.nan
    alive = np.arange(20) >= 5
    stored: Any = Stored(
        [cell("a", "f", "first", 1), cell("b", "f", "second", 2)],
        {"a": units(scores, np.arange(20) < 19), "b": units(second, alive)},
    )
    (made,) = transfers(stored)
    assert made.n_units == 20 and made.alive_first == 19 and made.kept_alive == pytest.approx(14 / 19)
    assert made.n == 14 and made.rank_correlation == pytest.approx(-1)
    assert made.ms_first == pytest.approx(scores[5:19].mean()) and made.ms_second == pytest.approx(-made.ms_first)


def test_the_correlation_is_spearmans_and_its_interval_covers_0_for_unrelated_units() -> None:
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    x = generator.normal(size=60).round(1)
    y = x + generator.normal(size=60)
    value, low, high = rank_correlation(x, y, np.arange(60), 0)
    assert value == pytest.approx(float(spearmanr(x, y).statistic)) and low < value < high
    inside = 0
    for seed in range(200):
        drawn = np.random.default_rng(seed)
        _, low, high = rank_correlation(drawn.normal(size=60), drawn.normal(size=60), np.arange(60), seed)
        inside += low <= 0 <= high
    assert 180 <= inside <= 199
    # Copies of one unit are one observation: the interval is as wide as that of the originals.
    first, second = generator.normal(size=(2, 30))
    alone = rank_correlation(first, second, np.arange(30), 0)
    copied = rank_correlation(np.repeat(first, 8), np.repeat(second, 8), np.repeat(np.arange(30), 8), 0)
    assert copied[2] - copied[1] == pytest.approx(alone[2] - alone[1], rel=0.15)
    assert all(map(math.isnan, rank_correlation(x[:7], y[:7], np.arange(7), 0)))
    assert all(map(math.isnan, rank_correlation(np.ones(9), y[:9], np.arange(9), 0)))


def test_labels_are_compared_above_their_null_and_with_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {
        "a": pd.DataFrame({"unit": range(6), "label": list("ddccdx"), "p_value": [0.01] * 5 + [0.5]}),
        "b": pd.DataFrame({"unit": range(6), "label": list("ddcdcx"), "p_value": [0.01] * 6}),
    }

    def stored_labels(store: Any, cell_id: str, most: int) -> pd.DataFrame:
        return labels[cell_id].assign(scorer="classes")

    monkeypatch.setattr(transfer, "unit_labels", stored_labels)
    stored: Any = Stored(
        [cell("a", "f", "first", 1), cell("b", "f", "second", 2)],
        {name: units(np.linspace(0, 1, 6)) for name in "ab"},
    )
    (made,) = transfers(stored)
    assert made.scorer == "classes" and made.n_labelled == 5
    assert made.same_label == pytest.approx(3 / 5) and made.label_chance == pytest.approx(0.6 * 0.6 + 0.4 * 0.4)
