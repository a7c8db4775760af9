"""Unit pairs of a contest: who meets whom, and what the notes say of the others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from harness.judging.pairs import Units, comparisons
from harness.judging.selection import Contest, Entrant
from judges.grids import N_TILES
from results.views import View


def units(n: int, n_alive: int | None = None) -> Units:
    """n units with enough images, of n_alive that are alive."""
    images = np.zeros((n, N_TILES), dtype=np.int64)
    return Units(np.arange(n), images, images, images.astype(np.float64), n if n_alive is None else n_alive)


def drawn(cells: Mapping[str, Mapping[int, Units]], pairs: int = 3) -> tuple[pd.DataFrame, list[str]]:
    """The comparisons of a contest, and its notes. ``cells``: method -> token seed -> units."""
    entrants = tuple(Entrant("c", name, {seed: f"{name}{seed}" for seed in own}) for name, own in cells.items())
    contest = Contest("tiny", "tiny at fc", "fc", "evaluation-1", View(), entrants, ())
    by_cell = {f"{name}{seed}": found for name, own in cells.items() for seed, found in own.items()}
    return comparisons(contest, by_cell, pairs=pairs, controls=0, seed=0)


def meetings(frame: pd.DataFrame) -> dict[tuple[str, str], int]:
    return {key: len(own) for key, own in frame[frame["order"] == 0].groupby(["cell_a", "cell_b"])}


def test_two_methods_meet_on_every_token_seed_in_both_orders() -> None:
    frame, notes = drawn({"x": {1: units(5), 2: units(5)}, "y": {1: units(9), 2: units(9)}})
    assert meetings(frame) == {("x1", "y1"): 3, ("x2", "y2"): 3} and len(frame) == 12
    first, second = (frame[frame["order"] == order].set_index("pair_id") for order in (0, 1))
    assert (first["unit_a"] == second["unit_b"]).all() and (first["unit_b"] == second["unit_a"]).all()
    assert notes == []


def test_methods_of_different_token_seeds_meet_on_the_shared_ones() -> None:
    frame, notes = drawn({"x": {1: units(5), 2: units(5)}, "y": {2: units(5), 3: units(5)}, "z": {3: units(5)}})
    assert meetings(frame) == {("x2", "y2"): 3, ("y3", "z3"): 3}
    assert notes == [
        "z was judged on 1 of 3 token seeds: there are no cells on the others.",
        "x; y were judged on 2 of 3 token seeds: there are no cells on the others.",
    ]


def test_methods_without_a_shared_token_seed_do_not_meet() -> None:
    frame, _ = drawn({"x": {1: units(5)}, "y": {2: units(5)}})
    assert frame.empty


def test_a_few_units_without_enough_images_are_not_worth_a_note() -> None:
    """From 95 % of the alive units on nothing is said."""
    _, notes = drawn({"all": {1: units(100)}, "most": {1: units(95, 100)}, "fewer": {1: units(94, 100)}})
    assert notes == [
        "fewer: only 94 of its 100 alive units are active on enough images for a grid; pairs were drawn from these."
    ]


def test_a_method_without_a_unit_to_show_is_named_and_not_judged() -> None:
    frame, notes = drawn({"x": {1: units(5)}, "none": {1: units(0, 4)}})
    assert frame.empty
    assert notes == [
        "none was not judged: none of its units is active on enough images.",
    ]
