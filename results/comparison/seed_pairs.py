"""Pairing of the cells of two rows: those of the same token seed, else of the same init seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from results.boards.board import Row
from results.boards.seeds import Seeds, averaged, seeds_of
from results.errors import NotComparableError

#: Positions in `Seeds`.
_TOKEN, _INIT = 0, 1


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
        NotComparableError: a row without a finished cell, or no shared token seed.
    """
    all_cells = [[cell for cell_id, cell in by_id.items() if cell_id in row.cell_ids] for row in (a, b)]
    # Of two finished cells with the same seeds, the one started last counts, as on the board.
    sides = [{seeds_of(cell): cell for cell in cells if cell["status"] == "finished"} for cells in all_cells]
    for row, cells in zip((a, b), sides, strict=True):
        if not cells:
            raise NotComparableError(f"{row.title} has no finished cell on {board_name}.")
    notes = []
    counted = [averaged({seeds_of(cell) for cell in cells}) for cells in all_cells]
    in_means = [
        {seeds: cell for seeds, cell in cells.items() if seeds in row_seeds}
        for cells, row_seeds in zip(sides, counted, strict=True)
    ]
    shared = _shared(in_means, _TOKEN)
    if len(shared) > 1:
        for row, cells, used in zip((a, b), sides, in_means, strict=True):
            if len(used) < len(cells):
                n_repeats = len(cells) - len(used)
                notes.append(f"{_cells(n_repeats)} of {row.title} left out of the means: repeated on one token set.")
        sides = in_means
    else:
        shared = _shared(sides, _TOKEN)
    if not shared:
        texts = [", ".join(map(_text, sorted({token for token, _ in cells}))) for cells in sides]
        raise NotComparableError(
            f"{a.title} and {b.title} share no token seed on {board_name} (they have {texts[0]} and {texts[1]}); "
            "run both with the same --token-seed."
        )
    by, position, candidates = "token seed", _TOKEN, sides
    if len(shared) == 1:
        on_token = [{seeds: cell for seeds, cell in cells.items() if seeds[_TOKEN] == shared[0]} for cells in sides]
        common = _shared(on_token, _INIT)
        if len(common) > 1:
            by, position, candidates, shared = "init seed", _INIT, on_token, common
    groups = [
        [[cells[seeds] for seeds in sorted(cells, key=str) if seeds[position] == seed] for seed in shared]
        for cells in candidates
    ]
    for row, cells, row_groups in zip((a, b), sides, groups, strict=True):
        if (n_left_out := len(cells) - sum(map(len, row_groups))) > 0:
            notes.append(f"{_cells(n_left_out)} of {row.title} left out: the other row lacks their seeds.")
        if row.n_failed:
            notes.append(f"{_cells(row.n_failed)} of {row.title} failed.")
    names = tuple(f"{by} {_text(seed)}" for seed in shared)
    keys = [(row.config_id, row.label) for row in (a, b)]
    return Pairing(groups[0], groups[1], names, by, keys[0] == keys[1], keys[1] < keys[0]), notes


def _shared(sides: Sequence[Mapping[Seeds, Any]], position: int) -> list[int]:
    """Return the seeds at a position of `Seeds` that both sides have."""
    first, second = ({seeds[position] for seeds in cells} for cells in sides)
    return sorted(first & second)


def _text(seed: int) -> str:
    return "none" if seed < 0 else str(seed)


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
