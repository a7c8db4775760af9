"""Core distances and the points within them, from strips of all columns of the squared distance matrix."""

from __future__ import annotations

import torch

from methods.elude.kernels import SAME, smallest_entries
from methods.elude.spanning_tree import RowThreads, slices
from methods.elude.tiles import Tiles

# Neighbours kept beyond min_samples + 1: room for those that float32 cannot distinguish from the last one.
SPARE = 16


def core_squares(tiles: Tiles, k: int, points: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return squared core distances (m,) float64, and points within them (m, min(n, k + 17)) int32, padded with n.

    They are those of the given points (m,) int64, by default of all.
    """
    n, device = tiles.n, tiles.x.device
    every = torch.arange(n, device=device) if points is None else points
    width = min(n, k + 1 + SPARE)
    selected = width
    core = torch.empty(len(every), dtype=torch.float64, device=device)
    neighbours = torch.empty(len(every), width, dtype=torch.int32, device=device)
    for rows in slices(len(every), tiles.strip_rows):
        of_rows = every[rows]
        # A slice is read where it is.
        squares = tiles.strip(rows if points is None else of_rows)
        squares[torch.arange(len(of_rows), device=device), of_rows] = 0.0
        slack = tiles.slack[of_rows]
        while True:
            values, columns = smallest(squares, selected)
            near = values[:, k].double()
            low, high = near - 2.0 * slack, near + 2.0 * slack
            # The band may extend beyond the selected entries.
            cut = values[:, -1] <= high if selected < n else torch.zeros_like(near, dtype=torch.bool)
            if selected >= min(n, 2 * width) or int(cut.sum()) <= len(near) // 16:
                break
            selected = min(n, 2 * width, 2 * selected - (k + 1))
        # Below the band a value cannot be the k-th smallest nor above it; in it the exact distance decides.
        exact = torch.full_like(values, torch.inf, dtype=torch.float64).masked_fill_(values < low[:, None], -1.0)
        row, slot = ((values >= low[:, None]) & (values <= high[:, None])).nonzero(as_tuple=True)
        exact[row, slot] = tiles.exact(of_rows[row], columns[row, slot])
        part = exact.kthvalue(k + 1, dim=1).values
        inside = lowest(torch.where(exact <= part[:, None] * SAME, columns, n), width)
        for r in cut.nonzero()[:, 0].tolist():
            band = float(low[r]), float(high[r])
            part[r], inside[r] = whole_row(tiles, squares[r], int(of_rows[r]), band, k, width)
        core[rows] = part
        neighbours[rows] = inside.int()
    return core, neighbours


def smallest(squares: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the width smallest entries, ascending, of each row of squares (b, n), and int64 columns: (b, width)."""
    if squares.device.type != "cpu":
        return squares.topk(width, dim=1, largest=False, sorted=True)
    values = torch.empty(len(squares), width)
    columns = torch.empty(len(squares), width, dtype=torch.int64)
    arrays = squares.numpy(), values.numpy(), columns.numpy()
    with RowThreads(*squares.shape) as rows:
        rows(lambda start, stop: smallest_entries(arrays[0], width, start, stop, arrays[1], arrays[2]))
    return values, columns


def lowest(columns: torch.Tensor, width: int) -> torch.Tensor:
    """Return the width lowest entries of each row of columns (b, m) int64: which of more points are kept is free."""
    return columns if columns.shape[1] <= width else columns.sort(dim=1).values[:, :width]


def whole_row(
    tiles: Tiles, squares: torch.Tensor, point: int, band: tuple[float, float], k: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `core_squares` for one point, without a limit on the number of points in the band.

    Of more than `width` points within the core distance, those of lowest index are kept: leaving some out may cost a
    round but does not change the tree.
    """
    low, high = band
    columns = ((squares >= low) & (squares <= high)).nonzero()[:, 0]
    exact = tiles.exact(torch.full_like(columns, point), columns)
    below = squares < low
    core = exact.kthvalue(k + 1 - int(below.sum())).values
    below[columns[exact <= core * SAME]] = True
    inside = below.nonzero()[:width, 0]
    padded = torch.full((width,), tiles.n, dtype=inside.dtype, device=inside.device)
    padded[: len(inside)] = inside
    return core, padded
