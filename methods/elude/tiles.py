"""Blocks of a squared distance matrix that does not fit in memory, on the CPU or a GPU, and exact single distances."""

from __future__ import annotations

import torch

from methods.elude.fused import kernels
from methods.elude.products import ROUGH, SplitRows, has_bfloat16_products
from methods.elude.spanning_tree import centred, rounding_slack, slices
from methods.errors import ArgumentError
from methods.memory import is_out_of_memory

# Entries of one float64 block of coordinate differences, or of neighbours processed together.
EXACT_BLOCK = 1 << 22
# Rows whose distances to each other are compared with their bound, if products have a reduced precision.
SAMPLED_ROWS = 64


class BoundError(ArgumentError):
    """A distance is wrong by more than its bound."""


class Tiles:
    """Blocks (within `slack`) and exact single entries of the squared distance matrix of x (n, d) float32.

    memory_bytes bounds the blocks alive at one time, not x, its parts, nor the neighbours that are kept (int32: n times
    min_samples + 17, on a GPU up to 2.4 n min_samples). products is "float32", or the precision in which blocks are
    computed (`products.PRECISIONS`): it changes `slack`, and nothing that is decided.
    """

    def __init__(self, x: torch.Tensor, memory_bytes: int, products: str = "float32"):
        self.x, self.products, self.memory_bytes = x, products, memory_bytes
        self.n, self.d = x.shape
        moved = centred(x)
        norms = torch.cat([torch.linalg.vecdot(part, part, dim=1).double() for part in torch.split(moved, 65536)])
        self.norms = norms.float()
        self.slack = rounding_slack(norms, self.d)
        self.vectors: torch.Tensor | SplitRows = moved
        if products != "float32":
            self.vectors = SplitRows(moved, products)
            self.slack += self.vectors.slack
        self.kernels = kernels(x.device)
        self.n_exact = 0
        """number of distances that were computed in float64"""
        self.plan(memory_bytes)
        if products != "float32":
            require_bound(self, products)

    def rough(self) -> Tiles:
        """Return blocks of the same distances with a larger error, in less time.

        The same ones if these are float32, and if the device has no such products, no memory for another copy of the
        points, or sums that break the bound.
        """
        if self.products == "float32" or not has_bfloat16_products(self.x.device):
            return self
        try:
            return Tiles(self.x, self.memory_bytes, ROUGH)
        except BoundError:
            return self
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return self

    def plan(self, memory_bytes: int) -> None:
        """Set the sizes of the blocks from memory_bytes; results do not depend on it."""
        # A strip of all columns, a square tile and the table of points and components each need at most three more
        # arrays of their size; half is reserved for the matrix product and the allocator.
        self.strip_rows = max(1, memory_bytes // (32 * self.n))
        self.tile_side = max(1, min(8192, int((memory_bytes / 32) ** 0.5)))
        self.table_width = max(2, memory_bytes // (32 * self.n))

    def strip(self, rows: torch.Tensor | slice, columns: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Return squared distances (rows, columns) float32, at least 0."""
        start = self.norms[columns][None]
        if isinstance(self.vectors, SplitRows):
            out = self.vectors.subtract_twice(start, rows, columns)
        else:
            out = torch.addmm(start, self.vectors[rows], self.vectors[columns].T, alpha=-2.0)
        return out.add_(self.norms[rows][:, None]).clamp_min_(0.0)

    def dots(self, rows: torch.Tensor | slice, columns: torch.Tensor | slice) -> torch.Tensor:
        """Return inner products (rows, columns) float32, about the mean if the points were moved there.

        ``norms[rows][:, None] + norms[columns] - 2 dots`` is then the squared distance, within ``slack`` as in strips.
        """
        if isinstance(self.vectors, SplitRows):
            return self.vectors.products(rows, columns)
        return self.vectors[rows] @ self.vectors[columns].T

    def exact(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        """Return squared distances (m,) float64 of the pairs i, j (m,), from float64 differences.

        The bits of a distance do not depend on the other pairs of the call.
        """
        self.n_exact += len(i)
        if self.kernels is not None:
            return self.kernels.exact_squares(self.x, i, j)
        step = max(1, EXACT_BLOCK // self.d)
        out = torch.empty(len(i), dtype=torch.float64, device=self.x.device)
        for part in slices(len(i), step):
            count = part.stop - part.start
            # A GPU chooses the order of a sum by the shape of the whole block.
            spare = 0 if self.x.device.type == "cpu" else step - count
            ends = [torch.nn.functional.pad(end[part], (0, spare)) for end in (i, j)]
            out[part] = (self.x[ends[0]].double() - self.x[ends[1]].double()).square_().sum(1)[:count]
        return out


def largest_error(tiles: Tiles, count: int) -> float:
    """Return the largest error of the distances among count rows, spread over all, as a fraction of its bound."""
    rows = torch.arange(0, tiles.n, max(1, tiles.n // count), device=tiles.x.device)[:count]
    i, j = rows.repeat_interleave(len(rows)), rows.repeat(len(rows))
    computed = tiles.n_exact
    error = (tiles.strip(rows, rows).flatten().double() - tiles.exact(i, j)).abs()
    tiles.n_exact = computed
    # Rows of zeros have neither an error nor a bound.
    return float((error / tiles.slack[i].clamp_min(torch.finfo(torch.float64).tiny)).max())


def require_bound(tiles: Tiles, products: str) -> None:
    """Check the bound on a sample of distances: it assumes how the sums of this device round.

    Raises:
        BoundError: if one of them is wrong by more than the bound.
    """
    error = largest_error(tiles, SAMPLED_ROWS)
    if not error <= 1.0:
        raise BoundError(
            f"products = {products!r}: a distance is wrong by {error:.3g} times the bound, so this device does not sum "
            "as the bound assumes and the clusters could be wrong; use 'float32'."
        )
