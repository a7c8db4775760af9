"""Centring and one common scale, learned on the probing tokens."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from methods.base import Reads, Tokens
from methods.errors import UserError

#: Number of entries of one batch of tokens, of which several float64 copies are held: 65536 tokens of 1024 features.
BATCH_ENTRIES = 1 << 26


#: Largest scale of a layer: float32 holds squares up to 3e38, and methods sum the squares of thousands of features.
LARGEST_SCALE = 1e15


class _Moments(NamedTuple):
    n: int
    mean: Tensor
    """(width,) float64"""
    squares: Tensor
    """(width,) float64 sums of squared deviations from the mean"""


#: Moments of token sets on disk, so that the fits of many cells read the tokens once for them.
_COMPUTED: WeakKeyDictionary[Tokens, dict[tuple[Reads, int | None], _Moments]] = WeakKeyDictionary()


def _moments(tokens: Tokens, field: Reads, batch_size: int | None) -> _Moments:
    """Return number, mean and squared deviations of all tokens; of tokens with a fingerprint they are kept."""
    if not isinstance(getattr(tokens, "fingerprint", None), str):
        return _computed_moments(tokens, field, batch_size)
    try:
        computed = _COMPUTED.setdefault(tokens, {})
    except TypeError:  # tokens of another program, which have no hash or no weak reference
        return _computed_moments(tokens, field, batch_size)
    if (field, batch_size) not in computed:
        computed[field, batch_size] = _computed_moments(tokens, field, batch_size)
    return computed[field, batch_size]


def _computed_moments(tokens: Tokens, field: Reads, batch_size: int | None) -> _Moments:
    count = 0
    width = tokens.width(field)
    batch_size = max(1, min(65536, BATCH_ENTRIES // width)) if batch_size is None else batch_size
    mean = torch.zeros(width, dtype=torch.float64)
    squares = torch.zeros(width, dtype=torch.float64)
    for batch in tokens.batches(field, batch_size):
        # Chan's merge: sums of squares about the running mean do not cancel if the mean is large.
        rows = batch.double()
        batch_mean = rows.mean(0)
        delta = batch_mean - mean
        total = count + len(rows)
        squares += ((rows - batch_mean) ** 2).sum(0) + delta**2 * (count * len(rows) / total)
        mean += delta * (len(rows) / total)
        count = total
    return _Moments(count, mean, squares)


class Normaliser:
    """``x -> (x - mean) / scale``.

    ``scale`` is the root mean squared deviation over all features, so that the mean predictor has a mean squared
    error of exactly 1 in normalised space for any layer. One scale for all features leaves R2 and the angles between
    atoms unchanged from the layer's space.

    Raises:
        UserError: if there are no tokens, some are not finite or too large, or all are the same.
    """

    def __init__(self, tokens: Tokens, field: Reads, batch_size: int | None = None) -> None:
        count, mean, squares = _moments(tokens, field, batch_size)
        if count == 0:
            raise UserError("There are no probing tokens: sample at least one token per image.")
        self.mean = mean.float()
        self.scale = float((squares / count).mean().sqrt())
        if not math.isfinite(self.scale):
            raise UserError(
                f"The layer's {field} contains NaN or infinity in at least one probing token: "
                "check the backbone's weights and preprocessing."
            )
        if self.scale > LARGEST_SCALE:
            raise UserError(
                f"The layer's {field} varies by {self.scale:.3g} over the probing tokens, and its squares exceed "
                f"the range of float32; at most {LARGEST_SCALE:g} is possible: check the backbone's weights."
            )
        # The variance of equal tokens is rounding noise, which must not be scaled up to 1.
        rounding = torch.finfo(torch.float32).eps * float(mean.square().mean().sqrt())
        if count == 1 or self.scale <= rounding:
            seen = "There is only one probing token" if count == 1 else f"All {count} probing tokens are the same"
            raise UserError(f"{seen}, so nothing can be learned from this layer: sample more tokens.")

    def to(self, device: torch.device) -> Normaliser:
        """Return a copy whose mean is on a device, so that tokens there are normalised without copying it."""
        moved = copy.copy(self)
        moved.mean = self.mean.to(device)
        return moved

    def __call__(self, x: Tensor) -> Tensor:
        """Return normalised x as float32, for any dtype of x."""
        # In place on a new tensor: at most two copies of a block of tokens exist.
        x = x.float()
        return (x - self.mean.to(x)).div_(self.scale)
