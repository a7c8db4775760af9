"""Grid of an image's patch tokens."""

from __future__ import annotations

import math

from harness.activations.baseline import Baseline


def patch_grid(baseline: Baseline) -> tuple[int, int]:
    """Return the first patch among the tokens of an image, and the side of the grid; 0 for a layer without a grid.

    CLS and registers come first, and the patches follow row by row (:mod:`harness.activations.positions`).
    """
    positions = baseline.passes.site.positions(baseline.n_tokens)
    first = int((positions < 0).sum())
    n_patches = len(positions) - first
    side = math.isqrt(n_patches)
    return first, side if side * side == n_patches else 0
