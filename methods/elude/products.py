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

from collections.abc import Callable
from typing import NamedTuple

import torch

from methods.errors import ArgumentError

#: Bound on the error of one step of a tensor core's sum, as a fraction of the largest partial sum: it truncates to
#: float32. A step adds at least :data:`STEP_LENGTH` products. Every partial sum, in any order, is at most |x||y|. This
#: is an assumption about the hardware: NVIDIA specifies "at least single precision" and no rounding.
STEP, STEP_LENGTH = 2.0**-23, 4


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


class SplitRows:
    """Rows x (n, d) float32 as parts, for products on tensor cores.

    slack   (n,) float64: bound on the error of 2 x.y for each row x and any row y, beyond that of float32
    """

    def __init__(self, x: torch.Tensor, precision: str):
        rounded, count = PRECISIONS[precision]
        self.parts: list[torch.Tensor] = []
        rest = x
        for _ in range(count):
            # The remainder is exact: it has no more bits than x.
            part = rounded(rest)
            self.parts.append(part)
            rest = rest - part.float()
        self.slack = self._slack(x, rest)

    def _slack(self, x: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        norm, r = _norms(x), _norms(rest)
        low = _norms(self.parts[1].float()) if len(self.parts) > 1 else torch.zeros_like(norm)
        split = low * low.max() + r * norm.max() + (norm + r) * r.max()
        steps = -(-x.shape[1] // STEP_LENGTH)
        # The three sums are of h and l: at most (|h| + |l|)(|h'| + |l'|) in total.
        size = norm + r + 2.0 * low
        # The parts of a distance are added up in float32 one after the other.
        added = 4.0 * 2.0**-24 * (size + size.max()).square()
        return 2.0 * (split + steps * STEP * size * size.max()) + added

    def subtract_twice(
        self, start: torch.Tensor, rows: torch.Tensor | slice, columns: torch.Tensor | slice
    ) -> torch.Tensor:
        """Return start - 2 x[rows] @ x[columns].T as float32, with start (1, columns) float32."""
        out = start
        pairs = ((0, 0),) if len(self.parts) == 1 else ((0, 1), (1, 0), (0, 0))
        for left, right in pairs:
            out = _add_product(out, self.parts[left][rows], self.parts[right][columns])
        return out


def require_precision(name: str) -> None:
    """Check the name of a precision.

    Raises:
        ArgumentError: if it is neither "float32" nor one of :data:`PRECISIONS`.
    """
    if name not in ("float32", *PRECISIONS):
        allowed = ", ".join(map(repr, ("float32", *PRECISIONS)))
        raise ArgumentError(f"products is {name!r}; it must be one of {allowed}.")


def _add_product(start: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return start - 2 left @ right.T in float32."""
    if left.dtype == torch.float32:
        return torch.addmm(start, left, right.T, alpha=-2.0)
    if left.device.type == "cpu":
        # The same products, exact in float32; the CPU has no product of bfloat16 with a float32 result.
        return torch.addmm(start, left.float(), right.float().T, alpha=-2.0)
    return start - 2.0 * torch.mm(left, right.T, out_dtype=torch.float32)


def _norms(x: torch.Tensor) -> torch.Tensor:
    """Return the lengths (n,) float64 of the rows of x, computed in pieces."""
    pieces = [torch.linalg.vector_norm(piece.double(), dim=1) for piece in torch.split(x, 4096)]
    return torch.cat(pieces)
