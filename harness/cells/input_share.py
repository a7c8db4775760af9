"""Share of the layer's output that a decoder explains without any unit, from what ``encode`` has read.

``decode`` may read it (:attr:`methods.base.Method.decode_reads_input`), to scale each token back or to add a skip
connection. What it explains in this way is in R2 and in the accuracy, and says nothing about the units.
"""

from __future__ import annotations

import math

from torch import Tensor

from harness.metrics.r2 import R2
from methods.requirements import is_finite

#: Share of the output's variance from which the readers of a cell are told.
NOTED_SHARE = 0.5


class InputShare:
    """Streaming share of the variance of the layer's output that ``decode(0 * codes, x)`` explains.

    The variance is pooled over features, and a constant offset counts as explained, as a bias could learn it.
    """

    def __init__(self) -> None:
        self.output, self.rest = R2("decode without units"), R2("decode without units")
        self.is_finite = True

    def update(self, a: Tensor, a_hat: Tensor) -> None:
        """Add rows ``a`` (n, d_out) of the layer's output, and what ``decode`` gives (n, d_out) for codes of 0."""
        rest = a - a_hat.to(a)
        self.is_finite = self.is_finite and is_finite(rest)
        if self.is_finite:
            self.output.update(a, a)
            self.rest.update(rest, rest)

    def compute(self) -> float:
        """Return the share, at most 1; NaN if the output is constant, or the decoder gives NaN for codes of 0."""
        total = float(self.output.total.sum())
        return 1 - float(self.rest.total.sum()) / total if self.is_finite and total else math.nan

    def note(self) -> str:
        """Return a sentence if the share is at least :data:`NOTED_SHARE`; otherwise an empty text."""
        share = self.compute()
        if not share >= NOTED_SHARE:
            return ""
        return (
            f"decode explains {share:.1%} of the variance of the layer's output without any unit, from what encode has "
            "read, so R2 and accuracy say little about the units. On a linear layer, a skip connection can learn the "
            "layer itself."
        )
