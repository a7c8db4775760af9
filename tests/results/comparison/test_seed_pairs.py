"""Pairing of cells: which seeds are paired, and what the notes say of the others."""

from __future__ import annotations

from typing import Any

import pytest

from results.boards.board import Row
from results.boards.seeds import Seeds
from results.comparison.seed_pairs import Pairing, paired_cells
from results.errors import StoreError

Cells = dict[str, dict[str, Any]]


def row(method: str, seeds: list[Seeds], n_failed: int = 0) -> tuple[Row, Cells]:
    """A row with one finished cell per (token seed, init seed), and its cells by id."""
    cells: Cells = {
        f"{method}-{token}-{init}": {"status": "finished", "token_seed": token, "init_seed": init, "name": method}
        for token, init in seeds
    }
    made = Row(
        label=method,
        title=method,
        method=method,
        config_id="c",
        cell_ids=tuple(cells),
        n_finished=len(cells),
        n_failed=n_failed,
        errors=(),
        metrics={},
        undefined={},
    )
    return made, cells


def paired(a: tuple[Row, Cells], b: tuple[Row, Cells]) -> tuple[Pairing, list[str]]:
    return paired_cells(a[0], b[0], a[1] | b[1], "the board")


def seeds_of(groups: list[list[dict[str, Any]]]) -> list[list[Seeds]]:
    return [[(cell["token_seed"], cell["init_seed"]) for cell in group] for group in groups]


def test_shared_token_seeds_are_paired_and_init_seeds_averaged() -> None:
    both: list[Seeds] = [(1, 0), (1, 1), (2, 0), (2, 1)]
    pairing, notes = paired(row("a", both), row("b", both))
    assert (pairing.by, pairing.names) == ("token seed", ("token seed 1", "token seed 2"))
    assert seeds_of(pairing.a) == seeds_of(pairing.b) == [both[:2], both[2:]]
    assert notes == []


def test_cells_of_one_shared_token_seed_are_paired_by_init_seed() -> None:
    """The init seeds 0 and 1 are shared on token seed 1; 3 and 4 are those of other token seeds."""
    a = row("a", [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)])
    b = row("b", [(1, 4), (1, 3), (1, 1), (1, 0)])
    pairing, notes = paired(a, b)
    assert (pairing.by, pairing.names) == ("init seed", ("init seed 0", "init seed 1"))
    assert seeds_of(pairing.a) == seeds_of(pairing.b) == [[(1, 0)], [(1, 1)]]
    assert {cell["name"] for group in pairing.a for cell in group} == {"a"}
    assert notes == [
        "3 cells of a left out: the other row lacks their seeds.",
        "2 cells of b left out: the other row lacks their seeds.",
    ]


def test_a_single_shared_init_seed_does_not_restrict_the_token_seed() -> None:
    pairing, notes = paired(row("a", [(1, 0), (1, 1)]), row("b", [(1, 0), (1, 2)]))
    assert (pairing.by, pairing.names) == ("token seed", ("token seed 1",))
    assert seeds_of(pairing.a) == [[(1, 0), (1, 1)]] and seeds_of(pairing.b) == [[(1, 0), (1, 2)]]
    assert notes == []


def test_runs_repeated_for_stability_are_counted_in_a_note() -> None:
    """Of a, init seeds 1 and 2 were run on token seed 1 alone; b has no repeated runs, and no note."""
    a = row("a", [(1, 0), (2, 0), (1, 1), (1, 2)])
    pairing, notes = paired(a, row("b", [(1, 0), (2, 0)]))
    assert seeds_of(pairing.a) == seeds_of(pairing.b) == [[(1, 0)], [(2, 0)]]
    assert notes == ["2 cells of a left out of the means: repeated on one token set."]


def test_cells_of_token_seeds_that_are_not_shared_are_counted_in_a_note() -> None:
    pairing, notes = paired(row("a", [(1, 0), (2, 0)]), row("b", [(3, 0), (2, 0), (1, 0), (4, 0)], n_failed=1))
    assert pairing.names == ("token seed 1", "token seed 2")
    assert notes == ["2 cells of b left out: the other row lacks their seeds.", "1 cell of b failed."]


def test_rows_without_a_shared_token_seed_are_refused() -> None:
    with pytest.raises(StoreError, match=r"share no token seed on the board \(they have 1, 2 and 3\)"):
        paired(row("a", [(2, 0), (1, 0)]), row("b", [(3, 0)]))
