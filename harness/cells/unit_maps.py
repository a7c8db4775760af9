"""Activation maps of some units on their top images, for the people who look at them.

The evaluation pass knows the top images of a unit only at its end. Of a small split it keeps all codes; of others the
maps need the site's tokens of the top images a second time, for which the network is run up to the site only. Maps
measure nothing: no score depends on them, and they are not part of a cell's identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.unit_statistics import UnitStatistics
from harness.cells.method_output import MethodCalls
from harness.identity import seed_of
from methods.base import Progress, no_progress
from results.store.unit_maps import MAX_MAPS, MAX_SIDE, pack

#: Size of a cell's maps before compression, in bytes.
SIZE_LIMIT = 1 << 20
#: Largest size of the codes that are kept for the maps, in bytes: 100 images of 257 tokens and 5000 units.
KEPT_LIMIT = 512 << 20
#: Levels of a map, which a reader can still tell apart. Fewer of them compress better.
LEVELS = 16


class KeptCodes:
    """Codes of an evaluation pass, as long as all of them are within :data:`KEPT_LIMIT`.

    Args:
        n_images: number of images of the pass.
    """

    def __init__(self, n_images: int) -> None:
        self._n_images = n_images
        self._batches: list[tuple[Tensor, Tensor]] | None = []

    def update(self, image: Tensor, codes: Tensor) -> None:
        """Add a batch: image indices (B,), and codes (B, T, n_units)."""
        if self._batches is None:
            return
        # On the device until the end of the pass: copies would wait for it. A GPU has this much memory.
        if 4 * self._n_images * codes[0].numel() > KEPT_LIMIT:
            self._batches = None
        else:
            self._batches.append((image, codes))

    def to_cpu(self) -> None:
        """Move the codes to the CPU: on the device they would count in the peak of memory that a metric measures."""
        if self._batches is not None:
            self._batches = [(image, codes.cpu()) for image, codes in self._batches]

    def take(self) -> list[tuple[Tensor, Tensor]] | None:
        """Return the batches, which are then forgotten; None if they were too large."""
        batches, self._batches = self._batches, None
        return batches


def unit_maps(
    calls: MethodCalls,
    baseline: Baseline,
    statistics: UnitStatistics,
    ms_score: np.ndarray | None,
    *,
    runs_network: bool = True,
    kept: KeptCodes | None = None,
    progress: Progress = no_progress,
) -> pd.DataFrame:
    """Return the maps of some alive units, within :data:`SIZE_LIMIT`.

    If not all fit, half are the units of the highest MS scores, which a gallery shows first, and half are drawn at
    random from the others. Units without a token grid have only the histogram of their maxima.

    Args:
        calls: of the fitted method.
        statistics: of the units on the evaluation split.
        ms_score: (n_units,) of each unit, NaN if undefined; None if it was not measured.
        runs_network: False: of a method that reads the layer's output, from the stored outputs.
        kept: codes of the pass; they are computed again if there are none.

    Returns:
        The columns ``unit``, ``side``, ``maps`` and ``peaks`` of the table ``unit_maps``.
    """
    site = baseline.passes.site
    positions = site.positions(baseline.n_tokens)
    grid = torch.nonzero(positions >= 0).flatten()
    fine = math.isqrt(len(grid))
    side = min(fine, MAX_SIDE) if fine > 1 else 0
    n_maps = min(MAX_MAPS, len(statistics.top_image))
    chosen = _chosen(statistics, ms_score, SIZE_LIMIT // max(n_maps * side**2, 1))
    top = statistics.top_image[:n_maps, torch.from_numpy(chosen)].numpy()
    maps = np.zeros((len(chosen), n_maps, side, side), np.uint8)
    if side and len(chosen):
        scale = statistics.maximum[torch.from_numpy(chosen)]
        images = np.unique(top)
        done = 0
        batches = None if kept is None else kept.take()
        for index, encoded in _codes(calls, baseline, images, runs_network) if batches is None else batches:
            with torch.inference_mode():
                codes = encoded[:, grid][:, :, torch.from_numpy(chosen)].float().cpu()
            levels = _levels(codes, scale, fine, side)
            for row, image in enumerate(index.tolist()):
                rank, unit = np.nonzero(top == image)
                maps[unit, rank] = levels[row, unit]
            done += len(index)
            progress(done, len(images), "images of the activation maps")
    return pd.DataFrame(
        {
            "unit": chosen.astype(np.int32),
            "side": np.full(len(chosen), side, np.int32),
            "maps": pd.Series([pack(of_unit) if side else None for of_unit in maps], dtype=object),
            "peaks": list(statistics.peak_histogram()[chosen]),
        }
    )


def _codes(
    calls: MethodCalls, baseline: Baseline, images: np.ndarray, runs_network: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield image indices (B,) and codes (B, T, n_units), of some images."""
    for index, x in _inputs(calls, baseline, images, runs_network):
        with torch.inference_mode():
            codes = calls.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        yield index, codes


def _inputs(
    calls: MethodCalls, baseline: Baseline, images: np.ndarray, runs_network: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield image indices (B,) and what the method reads (B, T, d), of some images."""
    if not runs_network:
        yield from baseline.outputs(images)
        return
    for tokens in baseline.passes.tokens(images):
        yield tokens.image, tokens.q if calls.method.spec.reads == "input" else tokens.a


def _chosen(statistics: UnitStatistics, ms_score: np.ndarray | None, count: int) -> np.ndarray:
    """Return up to ``count`` alive units, ascending."""
    alive = np.flatnonzero(statistics.alive.numpy())
    if len(alive) <= count:
        return alive
    best = np.zeros(0, dtype=np.int64)
    if ms_score is not None:
        order = alive[np.argsort(-np.nan_to_num(ms_score[alive], nan=-np.inf), kind="stable")]
        best = order[: count // 2]
    others = np.setdiff1d(alive, best)
    generator = np.random.default_rng(seed_of("unit maps", statistics.n_units))
    drawn = generator.choice(others, size=min(count - len(best), len(others)), replace=False)
    return np.sort(np.concatenate([best, drawn]))


def _levels(codes: Tensor, scale: Tensor, fine: int, side: int) -> np.ndarray:
    """Return (B, n, side, side) uint8 of codes (B, fine * fine, n), in :data:`LEVELS` levels; 255 is ``scale`` (n,)."""
    maps = codes.permute(0, 2, 1).unflatten(2, (fine, fine))
    if side < fine:
        maps = torch.nn.functional.adaptive_max_pool2d(maps, side)
    levels = (maps.clamp(min=0) / scale[None, :, None, None] * (LEVELS - 1)).round().clamp(max=LEVELS - 1)
    result: np.ndarray = (levels * (255 // (LEVELS - 1))).to(torch.uint8).numpy()
    return result
