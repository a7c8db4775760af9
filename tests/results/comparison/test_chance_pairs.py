"""Flag `at chance`: paired over the neurons that a split and its control share, as in `harness compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from paired_store import cell

from results import ScoreRecord, Store, compare, leaderboard, open_store
from results.boards.board import Flag
from results.boards.build import boards_of
from results.boards.flags import AT_CHANCE, ONE_SEED

pytestmark = pytest.mark.run

N_NEURONS, LEAD = 40, 0.03
CLAIMS: dict[str, dict[str, Any]] = {
    "elude": {"family": "split"},
    "random_split": {"family": "control", "control_for": ["split"]},
}


def store_of(path: Path, seeds: dict[str, Sequence[int]], *, lead: float = LEAD, units: bool = True) -> Store:
    """Write a split whose neurons score `lead` more than those of its control, which vary far more than that."""
    store = open_store(path, read_only=False)
    generator = np.random.default_rng(0)
    neurons = generator.uniform(0.3, 0.7, N_NEURONS)
    numbers = np.arange(N_NEURONS)
    for method, of_method in seeds.items():
        for seed in of_method:
            values = neurons + (lead if method == "elude" else 0) + generator.normal(0, 0.02, N_NEURONS)
            frame = pd.DataFrame(
                {"unit": numbers, "parent": numbers, "alive": np.ones(N_NEURONS, bool), "ms_score": values}
            )
            error = float(values.std(ddof=1)) / N_NEURONS**0.5
            scores = [
                ScoreRecord(metric="ms_score", value=float(values.mean()), unit="fraction", uncertainty=error),
                ScoreRecord(metric="expansion_factor", value=1.0, direction="none"),
            ]
            record = cell(method, seed, n_units=N_NEURONS, claims=CLAIMS[method])
            store.record(record, scores, frame if units else None)
    return open_store(path)


def flags_of_elude(store: Store) -> dict[str, Flag]:
    (board,) = leaderboard(store)
    (row,) = [row for row in board.rows if row.method == "elude"]
    return {flag.name: flag for flag in row.flags}


def test_a_split_is_compared_neuron_by_neuron_with_its_control(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.duckdb", dict.fromkeys(CLAIMS, (1, 2, 3)))
    assert AT_CHANCE not in flags_of_elude(store)
    # The spread of the neurons is common to both rows: as independent errors, they hide the lead.
    (unpaired,) = boards_of(store.cells(), store.scores())
    (row,) = [row for row in unpaired.rows if row.method == "elude"]
    (flag,) = row.flags
    assert flag.name == AT_CHANCE and flag.sentence.endswith(
        "(from the errors of both rows as if they were independent)"
    )


def test_the_interval_of_the_flag_is_that_of_compare(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.duckdb", dict.fromkeys(CLAIMS, (1, 2, 3)), lead=0.0)
    flag = flags_of_elude(store)[AT_CHANCE]
    (comparison,) = compare(store, "elude", "random_split")
    (difference,) = [entry for entry in comparison.differences if entry.column.metric == "ms_score"]
    assert difference.low is not None and difference.high is not None and difference.low < 0 < difference.high
    values = [100 * value for value in (difference.difference, difference.low, difference.high)]
    assert "is {:.2f} [{:.2f}, {:.2f}] percentage points: not above this control".format(*values) in flag.sentence
    assert "(from" not in flag.sentence


def test_a_single_seed_is_paired_within_its_cells(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.duckdb", dict.fromkeys(CLAIMS, (1,)))
    assert list(flags_of_elude(store)) == [ONE_SEED]
    level = store_of(tmp_path / "level.duckdb", dict.fromkeys(CLAIMS, (1,)), lead=0.0)
    because = "the only known ones, because elude and random_split have one seed with this score"
    assert flags_of_elude(level)[AT_CHANCE].sentence.endswith(because)
    (comparison,) = compare(store, "elude", "random_split")
    assert all(difference.low is None for difference in comparison.differences)


def test_one_shared_seed_of_several_decides_nothing(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.duckdb", {"elude": (1, 2), "random_split": (2, 3)}, lead=0.0)
    because = "(from the errors of both rows as if they were independent)"
    assert flags_of_elude(store)[AT_CHANCE].sentence.endswith(because)


def test_a_difference_of_some_of_the_seeds_says_so(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.duckdb", {"elude": (1, 2, 3), "random_split": (2, 3)}, lead=0.0)
    assert flags_of_elude(store)[AT_CHANCE].sentence.endswith("(from the 2 seeds that both rows have)")


@pytest.mark.parametrize(
    ("seeds", "units"),
    [({"elude": (1, 2), "random_split": (3, 4)}, True), (dict.fromkeys(CLAIMS, (1,)), False)],
)
def test_rows_that_cannot_be_paired_have_independent_errors(
    tmp_path: Path, seeds: dict[str, Sequence[int]], units: bool
) -> None:
    store = store_of(tmp_path / "s.duckdb", seeds, units=units)
    sentence = flags_of_elude(store)[AT_CHANCE].sentence
    assert ("independent" in sentence) is units and ("within cells" in sentence) is not units


def test_an_unknown_error_of_one_side_gives_no_flag(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.duckdb", dict.fromkeys(CLAIMS, (1,)), units=False, lead=0.0)
    writable = open_store(store.path, read_only=False)
    unknown = ScoreRecord(metric="ms_score", value=0.5, unit="fraction")
    factor = ScoreRecord(metric="expansion_factor", value=1.0, direction="none")
    writable.record(cell("random_split", 1, n_units=N_NEURONS, claims=CLAIMS["random_split"]), [unknown, factor])
    assert list(flags_of_elude(open_store(store.path))) == [ONE_SEED]
