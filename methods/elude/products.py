"""Inner products of rows on tensor cores: reduced precision with a bound on the error that it makes.

Each row x is split into parts that a tensor core can read, ``x = h + r`` or ``x = h + l + r``, and the product of two
rows is that of their parts, ``h.h'`` or ``h.h' + h.l' + l.h'``. By the Cauchy-Schwarz inequality its error is at most

    |r||y| + (|x| + |r|)|r'|                 for one product,
    |l||l'| + |r||y| + (|x| + |r|)|r'|       for three,

where the norms are those of the actual remainders, so nothing is assumed about them. What the sums add is in
:data:`STEP`. The clustering computes every distance that this error leaves undecided in float64, so a precision changes
the time of a clustering and not its result (docs/clustering.md, "Reduced precision").
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import torch

from methods.elude.spanning_tree import slices
from methods.errors import ArgumentError

#: Bound on the error of one step of a tensor core's sum, as a fraction of the largest partial sum: it truncates to
#: float32. A step adds at least :data:`STEP_LENGTH` products. Every partial sum, in any order, is at most |x||y|. This
#: is an assumption about the hardware: NVIDIA specifies "at least single precision" and no rounding.
STEP, STEP_LENGTH = 2.0**-23, 4

#: Rows that are split at once: 100 MB of float64 at d = 3072.
PIECE_ROWS = 4096


def to_tf32(x: torch.Tensor) -> torch.Tensor:
    """Return x (float32) rounded to the nearest TF32 number: 11 significant bits, ties to even."""
    bits = x.contiguous().view(torch.int32)
    rounded = (bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF
    return rounded.view(torch.float32)


def to_bfloat16(x: torch.Tensor) -> torch.Tensor:
    """Return x (float32) rounded to the nearest bfloat16 number: 8 significant bits, ties to even."""
    return x.to(torch.bfloat16)


class Precision(NamedTuple):
    """Format of the parts of a row, and their number."""

    rounded: Callable[[torch.Tensor], torch.Tensor]
    parts: int
    """1: one product of matrices; 2: three"""


PRECISIONS = {
    "tf32": Precision(to_tf32, 1),
    "tf32x3": Precision(to_tf32, 2),
    "bf16x3": Precision(to_bfloat16, 2),
}

#: Precision that finds the rows which can contain the cheapest edge between two clusters. They are decided by distances
#: of the chosen precision, so its larger error adds rows to be decided and does not change the result.
ROUGH = "bf16"

_PRECISIONS = PRECISIONS | {ROUGH: Precision(to_bfloat16, 1)}


#: The fastest precision of the device, see :func:`precision_on`.
AUTO = "auto"

#: Environment variable with the precision of ELUDe's fits. It is no setting of the method: it changes no result.
VARIABLE = "HARNESS_CLUSTER_PRODUCTS"


class SplitRows:
    """Rows x (n, d) float32 as parts, for products on tensor cores.

    slack   (n,) float64: bound on the error of 2 x.y for each row x and any row y, beyond that of float32
    """

    def __init__(self, x: torch.Tensor, precision: str):
        rounded, count = _PRECISIONS[precision]
        self.parts = [torch.empty_like(x, dtype=rounded(x[:0]).dtype) for _ in range(count)]
        # Lengths of the rows, of their second parts and of what the parts leave.
        norm, low, left = (torch.zeros(len(x), dtype=torch.float64, device=x.device) for _ in range(3))
        for rows in slices(len(x), PIECE_ROWS):
            rest = x[rows]
            norm[rows] = _norms(rest)
            for number, part in enumerate(self.parts):
                part[rows] = rounded(rest)
                # The remainder is exact: it has no more bits than x.
                rest = rest - part[rows].float()
                if number > 0:
                    low[rows] = _norms(part[rows].float())
            left[rows] = _norms(rest)
        self.slack = error_bound(norm, low, left, x.shape[1])

    def subtract_twice(
        self, start: torch.Tensor, rows: torch.Tensor | slice, columns: torch.Tensor | slice
    ) -> torch.Tensor:
        """Return start - 2 x[rows] @ x[columns].T as float32, with start (1, columns) float32."""
        out = start
        for left, right in self._pairs():
            out = _add_product(out, self.parts[left][rows], self.parts[right][columns], -2.0)
        return out

    def products(self, rows: torch.Tensor | slice, columns: torch.Tensor | slice) -> torch.Tensor:
        """Return x[rows] @ x[columns].T as float32."""
        out = None
        for left, right in self._pairs():
            out = _add_product(out, self.parts[left][rows], self.parts[right][columns], 1.0)
        assert out is not None
        return out

    def _pairs(self) -> tuple[tuple[int, int], ...]:
        """Return the pairs of parts whose products are added up, the smallest first."""
        return ((0, 0),) if len(self.parts) == 1 else ((0, 1), (1, 0), (0, 0))


def error_bound(norm: torch.Tensor, low: torch.Tensor, rest: torch.Tensor, d: int) -> torch.Tensor:
    """Return a bound (n,) float64 on the error of 2 x.y for each row x and any row y.

    Args:
        norm: lengths (n,) float64 of the rows x.
        low: lengths of l in ``x = h + l + r``, or an upper bound; zeros if there is one part.
        rest: lengths of r.
        d: number of columns.
    """
    split = low * low.max() + rest * norm.max() + (norm + rest) * rest.max()
    # The sums are of h and l: at most (|h| + |l|)(|h'| + |l'|) in total.
    size = norm + rest + 2.0 * low
    summed = -(-d // STEP_LENGTH) * STEP * size * size.max()
    # The parts of a distance are added up in float32 one after the other.
    added = 4.0 * 2.0**-24 * (size + size.max()).square()
    return 2.0 * (split + summed) + added


def chosen_precision() -> str:
    """Return the precision that the user has chosen for fits by :data:`VARIABLE`; "auto" if there is none.

    Raises:
        ArgumentError: if there is no such precision.
    """
    name = os.environ.get(VARIABLE) or AUTO
    require_precision(name, VARIABLE)
    return name


def require_precision(name: str, setting: str = "products") -> None:
    """Check the name of a precision.

    Raises:
        ArgumentError: if it is none of "auto", "float32" and :data:`PRECISIONS`.
    """
    if name not in (AUTO, "float32", *PRECISIONS):
        allowed = ", ".join(map(repr, (AUTO, "float32", *PRECISIONS)))
        raise ArgumentError(f"{setting} is {name!r}; it must be one of {allowed}.")


def precision_on(device: torch.device, name: str) -> str:
    """Return the precision that "auto" stands for on a device: TF32 if it has tensor cores for it, else float32."""
    if name != AUTO:
        return name
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "tf32" if has_tf32 else "float32"


def has_bfloat16_products(device: torch.device) -> bool:
    """Return True if a device multiplies bfloat16 with a float32 result: on a GPU, PyTorch 2.8 or later is needed."""
    if device.type == "cpu":
        return True
    row = torch.ones(8, 8, dtype=torch.bfloat16, device=device)
    try:
        torch.mm(row, row, out_dtype=torch.float32)
    except (TypeError, RuntimeError):
        return False
    return True


def _add_product(start: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor, scale: float) -> torch.Tensor:
    """Return start + scale left @ right.T in float32; no start is zero."""
    if left.dtype == torch.bfloat16 and left.device.type != "cpu":
        try:
            product = torch.mm(left, right.T, out_dtype=torch.float32)
        except TypeError as error:
            raise ArgumentError(
                f"Products of bfloat16 with a float32 result need torch 2.8, and this is {torch.__version__}: use "
                "'tf32x3'."
            ) from error
        product = product if scale == 1.0 else product.mul_(scale)
        return product if start is None else product.add_(start)
    # In float32 on a CPU, which has no product of bfloat16 with a float32 result: the products are exact.
    left, right = left.float(), right.float()
    if start is None:
        return (left @ right.T).mul_(scale) if scale != 1.0 else left @ right.T
    return torch.addmm(start, left, right.T, alpha=scale)


def _norms(rows: torch.Tensor) -> torch.Tensor:
    """Return the lengths (n,) float64 of rows (n, d)."""
    norms: torch.Tensor = torch.linalg.vector_norm(rows.double(), dim=1)
    return norms
