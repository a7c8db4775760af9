"""Moran's I: spatial autocorrelation of a unit's codes on the patch grid of an image."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.errors import ArgumentError
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.metrics.inputs import in_range, require_finite, require_real
from harness.metrics.patch_grid import patch_grid
from methods.base import Method

#: Upper 5 % point of the standard normal distribution.
CRITICAL = 1.6449
# Smallest grid: the variance of the null has the factor N - 3 in its denominator.
_LEAST_PATCHES = 4
# Variance of I below which a map has the same I in all permutations, up to rounding.
_LEAST_VARIANCE = 1e-12
# Codes that are read at once: 2 ** 20 float64 are 8 MB, about a cache of a CPU. A GPU needs larger pieces.
_CODES_AT_ONCE, _CODES_AT_ONCE_GPU = 2**20, 2**25


def morans_i(codes: Tensor, *, contiguity: str = "rook") -> Tensor:
    """Return Moran's I of each map, with the nearest cells as neighbours and binary weights.

    ``I = (N / W) sum_ij w_ij (x_i - m)(x_j - m) / sum_i (x_i - m)^2`` for a map of N cells with the mean m, where w_ij
    is 1 for neighbours and W is the sum of all w_ij (Moran 1950).

    Args:
        codes: (n, h, w) maps.
        contiguity: ``"rook"``: cells that share a side are neighbours, as in the metric; ``"queen"``: or a corner, as
            in ViSAEBench (M1).

    Returns:
        (n,) float64: about 1 for a smooth map, -1 / (N - 1) on average for a map in random order, and -1 for a
        chessboard (with rook contiguity). It is NaN for a constant map and for fewer than two cells.

    Raises:
        ArgumentError: if ``codes`` has another shape, or values that are not finite real numbers, or there is no such
            contiguity.
    """
    if contiguity not in ("rook", "queen"):
        raise ArgumentError(f"morans_i: contiguity = {contiguity!r}: give 'rook' or 'queen'.")
    require_real("morans_i", codes=codes)
    if codes.ndim != 3:
        raise ArgumentError(f"morans_i: codes {tuple(codes.shape)} must have the shape (n, h, w).")
    require_finite("morans_i", codes=codes)
    n, height, width = codes.shape
    if height * width < 2 or not n:
        return torch.full((n,), torch.nan, dtype=torch.float64, device=codes.device)
    # The value does not depend on the scale of a map.
    maps = in_range(codes.flatten(1)).reshape(n, height, width, 1)
    return _statistics(maps, corners=contiguity == "queen").i[:, 0]


class PermutationNull(NamedTuple):
    """Moments of I over all permutations of a map's cells."""

    mean: float
    variance: Tensor
    """of the shape of the kurtosis"""


def permutation_null(height: int, width: int, kurtosis: Tensor) -> PermutationNull:
    """Return mean and variance of Moran's I if all permutations of the cells are equally likely.

    These are exact (the randomisation assumption; Cliff and Ord 1981, Spatial Processes, section 2.3).

    Args:
        height: rows of the grid.
        width: columns of the grid; the grid has at least four cells.
        kurtosis: ``N sum_i (x_i - m)^4 / (sum_i (x_i - m)^2)^2`` of the maps.
    """
    n = height * width
    rows, columns = _degrees(height), _degrees(width)
    degree = rows[:, None] + columns
    s0 = float(degree.sum())
    s1 = 2 * s0
    s2 = 4 * float((degree**2).sum())
    mean = -1 / (n - 1)
    of_normal = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * s0**2)
    of_kurtosis = (n**2 - n) * s1 - 2 * n * s2 + 6 * s0**2
    square = (of_normal - kurtosis * of_kurtosis) / ((n - 1) * (n - 2) * (n - 3) * s0**2)
    return PermutationNull(mean, square - mean**2)


def _degrees(size: int) -> Tensor:
    """Return the number of neighbours of each cell in a line of ``size`` cells, (size,) float64."""
    degree = torch.full((size,), 2.0, dtype=torch.float64)
    degree[0] -= 1
    degree[-1] -= 1
    return degree


class MapStatistics(NamedTuple):
    """Statistics of maps, each (n, units) float64; NaN for constant maps."""

    i: Tensor
    """Moran's I"""
    kurtosis: Tensor


def _statistics(maps: Tensor, *, corners: bool = False) -> MapStatistics:
    """Return the statistics of maps (n, h, w, units) float64 of at least two cells.

    Args:
        maps: the maps.
        corners: also count cells that share a corner as neighbours.
    """
    height, width = maps.shape[1:3]
    flat = maps.flatten(1, 2)
    # The deviations of equal values from their rounded mean need not be 0.
    varies = flat.amax(1) > flat.amin(1)
    centred = maps - flat.mean(1)[:, None, None]
    cross = torch.zeros_like(flat[:, 0])
    if height > 1:
        cross += (centred[:, 1:] * centred[:, :-1]).sum((1, 2))
    if width > 1:
        cross += (centred[:, :, 1:] * centred[:, :, :-1]).sum((1, 2))
    if corners and height > 1 and width > 1:
        for shift in (centred[:, 1:, 1:] * centred[:, :-1, :-1], centred[:, 1:, :-1] * centred[:, :-1, 1:]):
            cross += shift.sum((1, 2))
    squares = centred.flatten(1, 2).square_()
    total = torch.where(varies, squares.sum(1), torch.nan)
    fourth = squares.square_().sum(1)
    cells, pairs = height * width, height * (width - 1) + width * (height - 1)
    pairs += 2 * (height - 1) * (width - 1) if corners else 0
    # Each pair of neighbours counts twice in the sum and twice in W.
    return MapStatistics(cells * cross / (pairs * total), cells * fourth / total**2)


class MapSums:
    """Sums over the images on which each unit is active, in one pass. Memory is O(n_units).

    An image counts for a unit if its code is positive on at least one patch and is not the same on all patches.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.sums = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, codes: Tensor) -> None:
        """Add the codes (B, side * side, n_units) of the patches of whole images."""
        n_patches, n_units = codes.shape[1:]
        if not self.sums.numel():
            self.sums = torch.zeros((6, n_units), dtype=torch.float64, device=codes.device)
        at_once = _CODES_AT_ONCE if codes.device.type == "cpu" else _CODES_AT_ONCE_GPU
        step = max(1, at_once // max(n_patches * n_units, 1))
        for part in torch.split(codes, step):
            largest = part.amax(1)
            counted = (largest > 0) & (largest > part.amin(1))
            # A sparse code is constant, at 0, for most units of an image.
            units = torch.nonzero(counted.any(0))[:, 0]
            self.sums[:, units] += self._sums(part[..., units].double(), counted[:, units])

    def _sums(self, codes: Tensor, counted: Tensor) -> Tensor:
        """Return (6, units) sums over the images of codes (B, patches, units) that are ``counted`` (B, units)."""
        i, kurtosis = _statistics(codes.unflatten(1, (self.side, self.side)))
        null = permutation_null(self.side, self.side, kurtosis)
        tested = counted & (null.variance > _LEAST_VARIANCE)
        z = torch.where(tested, (i - null.mean) / null.variance.clamp_min(_LEAST_VARIANCE).sqrt(), 0.0)
        positive = (codes > 0).double().mean(1)
        columns = (counted, torch.where(counted, i, 0.0), tested, z, z > CRITICAL, torch.where(counted, positive, 0.0))
        return torch.stack([column.double().sum(0) for column in columns])

    def compute(self) -> UnitMaps:
        """Return the results of each unit."""
        counted, i, tested, z, above, positive = self.sums.cpu() if self.sums.numel() else torch.zeros(6, 0).double()
        return UnitMaps(counted, i / counted, tested, z / tested, above / tested, positive / counted)


class UnitMaps(NamedTuple):
    """Results of each unit, all (n_units,) float64; means are NaN for units without a map."""

    counted: Tensor
    """number of maps: images that count for the unit"""
    i: Tensor
    """mean of I over these"""
    tested: Tensor
    """number of these of which I varies between permutations"""
    z: Tensor
    """mean over these of (I - mean of the null) / standard deviation of the null"""
    above: Tensor
    """share of these with z above :data:`CRITICAL`"""
    positive: Tensor
    """mean share of patches with a positive code"""


@METRICS.register()
class MoransI(Metric):
    """Mean over units of Moran's I of their codes on the patch grid; no direction.

    A unit's value is the mean of I over the images on which it is active: those with a positive code on at least one
    patch whose codes are not all equal. I is 0/0 for equal codes, for example for the zeros of a sparse code, and a
    unit that is negative everywhere says nothing about the image. The codes are taken as they are, not rectified. CLS
    and register tokens are excluded. Units that are dead, or positive at such tokens only, are undefined. The metric is
    skipped for layers without a grid of at least 2 x 2 patches.

    It has no direction, because smooth maps are no better than small objects: I rises with the number of patches on
    which a code is positive, and the layer's output itself is smooth. Details: ``null``, the expectation of I for
    patches in random order; ``maps``, the number of pairs of unit and image; ``active_patches``, the mean share of
    patches with a positive code.

    Companions:

    - ``morans_i_undefined``: the number of alive units without such an image.
    - ``morans_i_above_null``: mean over units of the share of their maps with a z-score above 1.645 (5 % one-sided). z
      is (I - mean) / standard deviation over all permutations of the patches, both exact. In random order it is about
      .05. Details: ``z``, the mean z-score; ``maps``, the number of pairs of which I differs between permutations.
    - ``morans_i_outputs``: the same mean of I for the neurons of the layer's original output, which is the level that a
      method has to be compared with. Details as above.
    """

    id = "morans_i"
    title = "spatial coherence (Moran's I)"
    unit = ""
    direction = "none"
    reference = "Moran 1950; null moments: Cliff and Ord 1981"
    default = False
    needs_network = False

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.first, self.side = patch_grid(baseline)
        self.codes, self.outputs = MapSums(self.side), MapSums(self.side)

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        side = patch_grid(baseline)[1]
        return side * side >= _LEAST_PATCHES

    def update(self, batch: Batch) -> None:
        self.codes.update(batch.codes[:, self.first :])
        self.outputs.update(batch.a[:, self.first :])

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        maps = self.codes.compute()
        mean, undefined = self.unit_scores(outcome, maps.i)
        yield mean._replace(details=self._details(maps))
        yield undefined
        tested = maps.tested > 0
        error = outcome.error_over_units(maps.above, tested)
        details = {"z": _json(maps.z[tested].mean()), "maps": int(maps.tested.sum())}
        share = float(maps.above[tested].mean())
        yield Score("morans_i_above_null", share, int(tested.sum()), *error, direction="none", details=details)
        outputs = self.outputs.compute()
        alive = outputs.counted > 0
        n = int(alive.sum())
        spread = float(outputs.i[alive].std() / math.sqrt(n)) if n > 1 else None
        level, details = float(outputs.i[alive].mean()), self._details(outputs)
        yield Score("morans_i_outputs", level, n, spread, "neurons", "", "none", details)

    def _details(self, maps: UnitMaps) -> dict[str, Any]:
        alive = maps.counted > 0
        return {
            "null": -1 / (self.side**2 - 1),
            "maps": int(maps.counted.sum()),
            "active_patches": _json(maps.positive[alive].mean()),
        }


def _json(value: Tensor) -> float | None:
    """Return a value for ``details``, which hold None instead of NaN."""
    return None if bool(value.isnan()) else float(value)
