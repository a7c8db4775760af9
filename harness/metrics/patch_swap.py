"""Patch swaps: is a unit still active if its patch is replaced by one that activates it on another image?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.identity import seed_of
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.patch_grid import patch_grid
from methods.base import Method

#: Most units, and pairs of images of each.
UNITS, PAIRS = 16, 4
#: Swaps: name -> what replaces the patch.
SWAPS = {
    "aligned": "the patch that activates the unit most on another of its images",
    "non_aligned": "the patch that activates another unit most on one of that unit's images",
    "random": "a random patch of a random image",
    "shuffled_position": "the aligned patch, put at a random other position; the patch itself becomes grey",
    "ablate_elsewhere": "nothing: another, random patch becomes grey",
    "grey": "grey: what the rest of the image gives",
}


class Swap(NamedTuple):
    """Patch that is written into an image."""

    image: int
    """index of the image that is changed"""
    position: int
    """grid position that is changed"""
    source: tuple[int, int] | None
    """image and grid position of the new patch; None: grey"""
    grey: int | None = None
    """grid position that becomes grey too"""


@METRICS.register()
class PatchSwap(Metric):
    """Part of a unit's code that is left after its patch is replaced by an aligned one, less that of a foreign one.

    Of an image that activates a unit most, the patch (pixels of one cell of the token grid) with its largest code is
    replaced, and the network runs on the changed image up to the layer. ``retention`` is the unit's largest code over
    the patches afterwards, over the same before, between 0 and 1. A unit that stands for what the patch shows keeps
    its code with the patch of another image that activates it (*aligned*), and loses it with a patch that activates
    another unit (*non-aligned*). The value is the mean over units of the difference of both retentions.

    Controls, after the null-calibrated polysemanticity index, as companions ``patch_swap_aligned``, ``_non_aligned``,
    ``_random`` (a random patch of a random image), ``_shuffled_position`` (the aligned patch at a random other
    position, its own grey) and ``_ablate_elsewhere`` (another patch grey): the mean retentions; and ``_grey`` (the
    patch itself grey), which is near 1 for a unit that is active on many patches. Up to 16 units that are active on at
    least two images are drawn with a seed; the pairs are neighbours among the up to five images that activate a unit
    most. Swaps of an image on which the unit is not active when it is read again are left out. Grey is the mean of the
    network's preprocessing. The standard error is over units, clustered by parent. CLS and register tokens are not
    read; the metric is skipped for layers without a grid.

    It measures if a code depends on its patch, not if the unit has one meaning: any function of the patch keeps its
    code with an aligned one, a random dictionary included.
    """

    id = "patch_swap"
    title = "retention of swapped patches"
    reference = "after Gupta and Kumar 2025 (arXiv 2508.16950), causal patch swaps; docs/probing.md"
    default = False

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return method.n_units > 1 and patch_grid(baseline)[1] >= 2

    @property
    def params(self) -> dict[str, Any]:
        return {"units": UNITS, "pairs": PAIRS}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        positions = self.baseline.passes.site.positions(self.baseline.n_tokens)
        top = outcome.units
        # Grid position of a unit's maximum, negative for CLS and registers.
        cells = positions[top.top_token]
        usable = (top.top_value > 0) & (cells >= 0)
        candidates = (usable.sum(0) >= 2).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(seed_of("units of patch swaps"))
        units = candidates[torch.randperm(len(candidates), generator=generator)[:UNITS]].sort().values
        if len(units) < 2:
            outcome.notes.append("No patch swaps: fewer than two units are active on patches of two images.")
            return
        retained = torch.full((len(SWAPS), outcome.method.n_units), torch.nan, dtype=torch.float64)
        for unit in units.tolist():
            images = [int(image) for image in top.top_image[usable[:, unit], unit]]
            patches = [int(patch) for patch in cells[usable[:, unit], unit]]
            others = [int(other) for other in units if int(other) != unit]
            swaps: list[list[Swap]] = [[] for _ in SWAPS]
            for pair in range(min(PAIRS, len(images) - 1)):
                draw = torch.Generator().manual_seed(seed_of("patch swap", unit, pair))
                target, source = (images[pair], patches[pair]), (images[pair + 1], patches[pair + 1])
                other = others[_drawn(len(others), draw)]
                of_other = [
                    pair
                    for pair in zip(
                        top.top_image[usable[:, other], other].tolist(),
                        cells[usable[:, other], other].tolist(),
                        strict=True,
                    )
                    if pair not in (target, source)
                ]
                if not of_other:
                    continue
                foreign = of_other[0]
                grid = patch_grid(self.baseline)[1] ** 2
                anywhere = (int(self.baseline.index[_drawn(len(self.baseline.index), draw)]), _drawn(grid, draw))
                elsewhere = (target[1] + 1 + _drawn(grid - 1, draw)) % grid
                swaps[0].append(Swap(*target, source))
                swaps[1].append(Swap(*target, foreign))
                swaps[2].append(Swap(*target, anywhere))
                swaps[3].append(Swap(target[0], elsewhere, source, grey=target[1]))
                swaps[4].append(Swap(target[0], elsewhere, None))
                swaps[5].append(Swap(*target, None))
            every = [swap for kind in swaps for swap in kind]
            if not every:
                continue
            before, after = self._codes(outcome.method, unit, every)
            kept = (after / before).clamp(0, 1).reshape(len(SWAPS), -1)
            retained[:, unit] = kept.nanmean(1)
        defined = ~retained.isnan().any(0)
        n = int(defined.sum())

        def score(name: str, values: Tensor, direction: Any = "none") -> Score:
            error = outcome.error_over_units(values, defined)
            return Score(name, float(values[defined].mean()), n, *error, direction=direction)

        yield score(self.id, retained[0] - retained[1], "higher")
        for row, name in enumerate(SWAPS):
            yield score(f"patch_swap_{name}", retained[row])

    def _codes(self, method: Method, unit: int, swaps: list[Swap]) -> tuple[Tensor, Tensor]:
        """Return the unit's largest code over the patches (n,) before and after each swap."""
        passes = self.baseline.passes
        needed = sorted({swap.image for swap in swaps} | {swap.source[0] for swap in swaps if swap.source is not None})
        pixels = dict(zip(needed, passes.inputs(np.asarray(needed)), strict=True))
        side = patch_grid(self.baseline)[1]
        changed = torch.stack([swapped(pixels, swap, side) for swap in swaps])
        images = {swap.image for swap in swaps}
        clean = {image: row for row, image in enumerate(sorted(images))}
        inputs = torch.cat([torch.stack([pixels[image] for image in sorted(images)]), changed])
        peaks = []
        for part in inputs.split(passes.batch_size):
            captured = passes.site.capture(passes.network, part.to(passes.backbone.device))
            x = captured.q if method.spec.reads == "input" else captured.a
            on_grid = (passes.site.positions(x.shape[1]) >= 0).to(x.device)
            with torch.inference_mode():
                codes = method.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2])[:, on_grid, unit]
            peaks.append(codes.amax(1).double().cpu())
        codes = torch.cat(peaks)
        before = codes[torch.tensor([clean[swap.image] for swap in swaps])]
        return torch.where(before > 0, before, torch.nan), codes[len(clean) :]


def swapped(pixels: dict[int, Tensor], swap: Swap, side: int) -> Tensor:
    """Return a copy of an image (3, S, S) with a patch replaced, and another one grey (0, the mean of preprocessing).

    Args:
        pixels: image index -> network input (3, S, S).
        swap: the change.
        side: number of cells along each side of the grid.
    """
    image = pixels[swap.image].clone()
    rows, columns = _cell(swap.position, side, image.shape[-1])
    if swap.source is None:
        image[:, rows, columns] = 0
    else:
        source_rows, source_columns = _cell(swap.source[1], side, image.shape[-1])
        patch = pixels[swap.source[0]][:, source_rows, source_columns]
        target = image[:, rows, columns]
        # Cells differ by a pixel in size if the side of the image is no multiple of the grid's.
        height, width = (min(a, b) for a, b in zip(patch.shape[1:], target.shape[1:], strict=True))
        target[:, :height, :width] = patch[:, :height, :width]
    if swap.grey is not None:
        rows, columns = _cell(swap.grey, side, image.shape[-1])
        image[:, rows, columns] = 0
    return image


def _cell(position: int, side: int, size: int) -> tuple[slice, slice]:
    """Return the rows and columns of pixels of a grid position."""
    row, column = divmod(position, side)
    return tuple(slice(round(k * size / side), round((k + 1) * size / side)) for k in (row, column))  # type: ignore[return-value]


def _drawn(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(0, n, (1,), generator=generator))
