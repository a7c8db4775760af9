"""Pairing of the cells of two rows: those of the same token seed, else of the same init seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from results.boards.board import Row
from results.boards.seeds import averaged
from results.errors import StoreError

Seeds = tuple[int | None, int | None]
_Cells = dict[Seeds, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Pairing:
    """Paired cells: one entry of each list is one pair of seeds."""

    a: list[list[dict[str, Any]]]
    b: list[list[dict[str, Any]]]
    names: tuple[str, ...]
    by: str
    itself: bool
    turned: bool
    """true if draws are made for B against A, so that they do not depend on which row is named first"""


def paired_cells(a: Row, b: Row, by_id: Mapping[str, dict[str, Any]], board_name: str) -> tuple[Pairing, list[str]]:
    """Pair the cells of two rows of one board, and return notes on what was left out.

    If several token seeds are shared, cells are paired by token seed, averaging over init seeds; of a row whose runs
    were repeated on one token set only, the cells of the board's means are used. With a single shared token seed, cells
    are paired by init seed.

    Args:
        by_id: cell id -> cell.
        board_name: description of the board.

    Raises:
        StoreError: a row without a finished cell, or no shared token seed.
    """
    sides = [_newest(row, by_id) for row in (a, b)]
    for row, cells in zip((a, b), sides, strict=True):
        if not cells:
            raise StoreError(f"{row.title} has no finished cell on {board_name}.")
    notes = []
    in_means = [_in_means(row, cells, by_id) for row, cells in zip((a, b), sides, strict=True)]
    shared = _shared_tokens(in_means)
    if len(shared) > 1:
        for row, cells, used in zip((a, b), sides, in_means, strict=True):
            if len(used) < len(cells):
                n_repeats = len(cells) - len(used)
                notes.append(f"{_cells(n_repeats)} of {row.title} left out of the means: repeated on one token set.")
        sides = in_means
    else:
        shared = _shared_tokens(sides)
    if not shared:
        tokens = [sorted({seeds[0] for seeds in cells}, key=_order) for cells in sides]
        texts = [", ".join("none" if seed is None else str(seed) for seed in row_seeds) for row_seeds in tokens]
        raise StoreError(
            f"{a.title} and {b.title} share no token seed on {board_name} (they have {texts[0]} and {texts[1]}); "
            "run both with the same --token-seed."
        )
    by, chosen = "token seed", [_of_token(seed) for seed in shared]
    if len(shared) == 1:
        init = [{seeds[1] for seeds in cells if seeds[0] == shared[0]} for cells in sides]
        common = sorted(init[0] & init[1], key=_order)
        if len(common) > 1:
            by, chosen, shared = "init seed", [_of_both(shared[0], seed) for seed in common], common
    groups = [[[cells[seeds] for seeds in sorted(cells, key=str) if test(seeds)] for test in chosen] for cells in sides]
    for row, cells, row_groups in zip((a, b), sides, groups, strict=True):
        if (n_left_out := len(cells) - sum(map(len, row_groups))) > 0:
            notes.append(f"{_cells(n_left_out)} of {row.title} left out: the other row lacks their seeds.")
        if row.n_failed:
            notes.append(f"{_cells(row.n_failed)} of {row.title} failed.")
    names = tuple(f"{by} {'none' if seed is None else seed}" for seed in shared)
    keys = [(row.config_id, row.label) for row in (a, b)]
    return Pairing(groups[0], groups[1], names, by, keys[0] == keys[1], keys[1] < keys[0]), notes


def _newest(row: Row, by_id: Mapping[str, dict[str, Any]]) -> _Cells:
    """Return finished cells by seeds; of two with the same seeds, the one started last, as on the board."""
    finished = [cell for cell_id, cell in by_id.items() if cell_id in row.cell_ids and cell["status"] == "finished"]
    return {(cell["token_seed"], cell["init_seed"]): cell for cell in finished}


def _in_means(row: Row, cells: _Cells, by_id: Mapping[str, dict[str, Any]]) -> _Cells:
    """Return the cells of a row that its means on the board are over."""

    def sortable(seeds: Seeds) -> tuple[int, int]:
        return _order(seeds[0]), _order(seeds[1])

    of_row = [cell for cell_id, cell in by_id.items() if cell_id in row.cell_ids]
    counted = averaged({sortable((cell["token_seed"], cell["init_seed"])) for cell in of_row})
    return {seeds: cell for seeds, cell in cells.items() if sortable(seeds) in counted}


def _shared_tokens(sides: list[_Cells]) -> list[int | None]:
    first, second = ({seeds[0] for seeds in cells} for cells in sides)
    return sorted(first & second, key=_order)


def _of_token(token: int | None) -> Callable[[Seeds], bool]:
    return lambda seeds: seeds[0] == token


def _of_both(token: int | None, init: int | None) -> Callable[[Seeds], bool]:
    return lambda seeds: seeds == (token, init)


def _order(seed: int | None) -> int:
    # A method without such a seed comes before seed 0; real seeds are not negative.
    return -1 if seed is None else seed


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
