"""Kernels for GPUs that read a tile of inner products once, where PyTorch's operations read and write it several times.

They are written in Triton, which PyTorch's builds for GPUs bring along. :func:`kernels` says whether they work here;
without them the clustering has the same result from PyTorch's operations. Counts and minima are updated atomically:
their results do not depend on the order, and where entries of a list come in any order, nothing that is decided does.
"""

from __future__ import annotations

import functools
import importlib
import math
from types import ModuleType

import torch

from methods.triton_trial import launching, working

#: Sides of the block of a tile that one program reads.
BLOCK_ROWS, BLOCK_COLUMNS = 16, 128
#: Pairs of rows that one program compares, and columns it reads at once.
PAIRS, CHUNK = 4, 256


class Kernels:
    """The kernels, as functions of tensors; ``programs`` is the module of the compiled programs.

    Tiles are products ``dots`` (r, c) float32 of r rows and c columns; ``row_norms`` (r,) and ``column_norms`` (c,) are
    the squared lengths. The squared distance is at least 0.
    """

    def __init__(self, programs: ModuleType):
        self.programs = programs

    def keep_near(
        self,
        dots: torch.Tensor,
        norms: torch.Tensor,
        limits: torch.Tensor,
        first: tuple[int, int],
        counts: torch.Tensor,
        values: torch.Tensor,
        columns: torch.Tensor,
    ) -> None:
        """Add the points of a tile to each other's lists, if their squared distance is within the list's limit.

        Args:
            dots: products of the points ``first[0] + row`` and ``first[1] + column``. If the two ranges differ, they
                must be disjoint, and each pair is added to both points' lists.
            norms: (n,) squared lengths.
            limits: (n,) largest squared distance of each point's list.
            first: first point of the rows and of the columns.
            counts: (n,) int32 points that belong to each list so far; those beyond the capacity are only counted.
            values: (n, capacity) float32 squared distances of the lists. The distance of a point to itself is 0.
            columns: (n, capacity) int32 points of the lists.
        """
        n_rows, n_columns = dots.shape
        grid = (-(-n_columns // BLOCK_COLUMNS), -(-n_rows // BLOCK_ROWS))
        with launching(dots):
            self.programs.keep_near[grid](
                dots, norms, limits, counts, values, columns, first[0], first[1], n_rows, n_columns, values.shape[1],
                both=first[0] != first[1], block_rows=BLOCK_ROWS, block_columns=BLOCK_COLUMNS,
            )  # fmt: skip

    def least_by_component(
        self,
        dots: torch.Tensor,
        rows: tuple[torch.Tensor, torch.Tensor],
        columns: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        table: torch.Tensor,
    ) -> None:
        """Lower ``table[row, component]`` to the least max(squared distance, core of the column) of a tile.

        Args:
            dots: products of the rows and columns; columns of one component are best kept together.
            rows: squared lengths (r,) float32 and components (r,) int32 of the rows.
            columns: squared lengths and squared core distances (c,) float32, and components (c,) int32.
            table: (r, components) float32, at least 0 or infinite. A row's own component is left as it is.
        """
        n_rows, n_columns = dots.shape
        grid = (-(-n_columns // BLOCK_COLUMNS), -(-n_rows // BLOCK_ROWS))
        with launching(dots):
            # Numbers from 0 on have the order of their bits.
            self.programs.least_by_component[grid](
                dots, *rows, *columns, table.view(torch.int32), n_rows, n_columns, table.stride(0),
                block_rows=BLOCK_ROWS, block_columns=BLOCK_COLUMNS,
            )  # fmt: skip

    def exact_squares(self, x: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        """Return squared distances (m,) float64 of the rows i, j (m,) int64 of x, from float64 differences.

        The bits of a distance do not depend on the other pairs.
        """
        out = torch.empty(len(i), dtype=torch.float64, device=x.device)
        if len(i):
            with launching(x):
                self.programs.exact_squares[(-(-len(i) // PAIRS),)](
                    x, i.contiguous(), j.contiguous(), out, len(i), width=x.shape[1], pairs_at_once=PAIRS, chunk=CHUNK
                )
        return out


def kernels(device: torch.device) -> Kernels | None:
    """Return the kernels, or None if they are not for this device or do not work here."""
    return _tried(device) if device.type == "cuda" else None


@functools.cache
def _tried(device: torch.device) -> Kernels | None:
    """Return the kernels if each gives the right result for a few points on this device."""
    return working(
        lambda: Kernels(importlib.import_module("methods.elude.fused_programs")),
        lambda compiled: _trial(compiled, device),
        "ELUDe clusters with PyTorch's operations",
    )


def _trial(compiled: Kernels, device: torch.device) -> dict[str, bool]:
    """Run each kernel on the points (3, 0), (0, 4), (3, 0), (0, 4), and return which results are right."""
    x = torch.tensor([[3.0, 0.0], [0.0, 4.0]] * 2, device=device)
    norms, ends = x.square().sum(1), torch.arange(4, device=device)
    squares = compiled.exact_squares(x, ends, ends.flip(0))

    # Points 0 and 1 are the rows, 2 and 3 the columns of a tile; its inner products are 9, 0, 0 and 16.
    dots = torch.diag(norms[:2])
    component = torch.tensor([0, 1], dtype=torch.int32, device=device)
    table = torch.full((2, 2), torch.inf, device=device)
    compiled.least_by_component(
        dots, (norms[:2], component), (norms[2:], torch.zeros_like(norms[2:]), component), table
    )

    counts = torch.zeros(4, dtype=torch.int32, device=device)
    values = torch.full((4, 2), torch.inf, device=device)
    points = torch.full((4, 2), 4, dtype=torch.int32, device=device)
    compiled.keep_near(dots, norms, torch.ones_like(norms), (0, 2), counts, values, points)
    nearest = values[:, 0].tolist(), points[:, 0].tolist()
    return {
        "exact_squares": squares.tolist() == [25.0] * 4,
        "least_by_component": table.tolist() == [[math.inf, 25.0], [25.0, math.inf]],
        "keep_near": counts.tolist() == [1] * 4 and nearest == ([0.0] * 4, [2, 3, 0, 1]),
    }
