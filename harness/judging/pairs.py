"""Sampling of unit pairs: seeded, and independent of which other methods compete."""

from __future__ import annotations

import itertools
import math
import random
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from harness import backbones
from harness.activations.sites import open_site
from harness.errors import UserError
from harness.identity import seed_of
from harness.judging.selection import Contest, Entrant
from judges.grids import N_TILES
from results import Store


class Units(NamedTuple):
    """Units of one cell that can be drawn, with the strongest images of each."""

    unit: np.ndarray
    """(n,) index in the method's codes"""
    image: np.ndarray
    """(n, 9) position in the evaluation split, strongest first"""
    position: np.ndarray
    """(n, 9) token index of the maximum"""
    value: np.ndarray
    """(n, 9) activation at that token"""
    n_alive: int
    """number of alive units of the cell, including those that cannot be drawn"""


def units_of(store: Store, cell_id: str, min_images: int) -> Units:
    """Return the alive units of a cell that are active (above zero) on at least ``min_images`` images.

    Raises:
        UserError: if the cell stored fewer than nine top images per unit.
    """
    frame = store.query(
        "SELECT unit, top_image[1:9] AS image, top_position[1:9] AS position, top_value[1:9] AS value "
        "FROM units WHERE cell_id = ? AND alive ORDER BY unit",
        [cell_id],
    )
    if any(len(images) < N_TILES for images in frame["image"]):
        raise UserError(
            f"The store has fewer than {N_TILES} top images per unit, which a grid needs. Run the suite with "
            f"evaluation.top_images of at least {N_TILES}, on at least as many evaluation images."
        )
    image, position, value = (
        np.array(list(frame[name])).reshape(-1, N_TILES) for name in ("image", "position", "value")
    )
    chosen = value[:, min_images - 1] > 0
    return Units(frame["unit"].to_numpy()[chosen], image[chosen], position[chosen], value[chosen], len(frame))


def draw(seed: int, size: int, count: int) -> list[int]:
    """Draw ``count`` numbers below ``size``, each equally often up to a difference of one.

    A longer draw starts with the shorter one, so that more pairs add to those already judged. Depends only on
    ``random.random()``, whose sequence is the same in all Python versions.

    Raises:
        ValueError: if ``size`` is less than 1.
    """
    if size < 1:
        raise ValueError("nothing to draw from")
    generator = random.Random(seed)
    drawn: list[int] = []
    while len(drawn) < count:
        # Partial Fisher-Yates shuffle that stores only the moved entries.
        moved: dict[int, int] = {}
        for at in range(min(size, count - len(drawn))):
            other = at + int(generator.random() * (size - at))
            drawn.append(moved.get(other, other))
            moved[other] = moved.get(at, at)
    return drawn


def comparisons(
    contest: Contest, units: dict[str, Units], *, pairs: int, controls: int, seed: int
) -> tuple[pd.DataFrame, list[str]]:
    """Return all comparisons of a contest: ``pairs`` unit pairs per method pair and token seed, each in both orders.

    The draw for two methods depends only on the seeds and these two methods. A method that is added later changes none
    of their pairs, so all replies remain usable. ``controls`` further comparisons show one grid twice, in one order.

    Returns:
        Rows pair_id, order, cell_a, unit_a, row_a, cell_b, unit_b, row_b, where row is the position in ``units``; and
        notes on units and methods that were left out.
    """
    rows: list[tuple[str, int, str, int, str, int]] = []
    notes = _notes(contest, units)
    for x, y in itertools.combinations(sorted(contest.entrants, key=lambda entrant: entrant.key), 2):
        for token_seed in sorted(x.cells.keys() & y.cells.keys()):
            cells = x.cells[token_seed], y.cells[token_seed]
            if not all(len(units[cell].unit) for cell in cells):
                continue
            drawn = [
                draw(seed_of("unit pairs", seed, token_seed, x.key, y.key, side), len(units[cell].unit), pairs)
                for side, cell in enumerate(cells)
            ]
            for number, (row_x, row_y) in enumerate(zip(*drawn, strict=True)):
                pair = f"{token_seed}/{x.config_id}/{y.config_id}/{number}"
                rows.append((pair, 0, cells[0], row_x, cells[1], row_y))
                rows.append((pair, 1, cells[1], row_y, cells[0], row_x))
    usable_cells = sorted(cell for cell in units if len(units[cell].unit))
    if usable_cells:
        for number in range(controls):
            cell = usable_cells[number % len(usable_cells)]
            row = draw(seed_of("control", seed, cell, number), len(units[cell].unit), 1)[0]
            rows.append((f"control/{number}", 0, cell, row, cell, row))
    frame = pd.DataFrame(rows, columns=["pair_id", "order", "cell_a", "row_a", "cell_b", "row_b"])
    for side in ("a", "b"):
        frame[f"unit_{side}"] = [
            int(units[cell].unit[row]) for cell, row in zip(frame[f"cell_{side}"], frame[f"row_{side}"], strict=True)
        ]
    return frame, notes


def _notes(contest: Contest, units: dict[str, Units]) -> list[str]:
    notes = []
    for entrant in contest.entrants:
        alive = sum(units[cell].n_alive for cell in entrant.cells.values())
        fit = sum(len(units[cell].unit) for cell in entrant.cells.values())
        # A few rare units are not worth a note.
        if 0 < fit < 0.95 * alive:
            notes.append(
                f"{entrant.label}: only {fit} of its {alive} alive units are active on enough images for a grid; "
                "pairs were drawn from these."
            )
        if fit == 0:
            notes.append(f"{entrant.label} was not judged: none of its units is active on enough images.")
    return notes + _missing(contest.entrants)


def _missing(entrants: tuple[Entrant, ...]) -> list[str]:
    """Return notes on methods that lack cells on some token seeds, grouped by the number of seeds that they have."""
    seeds = {token_seed for entrant in entrants for token_seed in entrant.cells}
    labels: dict[int, list[str]] = {}
    for entrant in entrants:
        if len(entrant.cells) < len(seeds):
            labels.setdefault(len(entrant.cells), []).append(entrant.label)
    return [
        f"{'; '.join(same_count)} {'were' if len(same_count) > 1 else 'was'} judged on {count} of {len(seeds)} token "
        "seeds: there are no cells on the others."
        for count, same_count in sorted(labels.items())
    ]


def tokens_per_side(backbone: str, site: str) -> int:
    """Return the number of tokens along one side of a layer's square token layout; runs the network once.

    Raises:
        UserError: if the backbone or site is unknown, or the tokens of the layer do not form a square.
    """
    # Weights do not change the layout, and nothing has to be downloaded.
    loaded = backbones.load(backbone, weights=backbone in backbones.names())
    layer = open_site(loaded, site)
    size = loaded.preprocessing.size
    captured = layer.capture(loaded.features, torch.zeros(1, 3, size, size))
    n = int((layer.positions(captured.a.shape[1]) >= 0).sum())
    side = math.isqrt(n)
    if side < 2 or side * side != n:
        raise UserError(
            f'Outlines need a square token layout, but {backbone} has {n} tokens at {site}; set style = "plain".'
        )
    return side
