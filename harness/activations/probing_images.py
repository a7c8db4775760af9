"""Probing images for metrics that choose units, or fit something, on images that they do not measure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.activations.cached import read_cached
from harness.activations.center_crops import CropFolder
from harness.activations.forward import Passes, SiteTokens
from harness.atomic import create_partial, remove, replace_atomically
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
from harness.identity import digest

#: Most probing images that a metric reads: as many of each class as of all, chosen by their names.
LIMIT = 5000
#: Increase when the files change: older ones are then not read.
VERSION = 1
_STATES = "states.f32"


@dataclass(frozen=True)
class ProbingImages:
    """Centre crops of at most :data:`LIMIT` probing images.

    The first pass keeps the network's states before the site, so that further passes take a fraction of its time.
    """

    from_pixels: Passes
    """passes over all probing images"""
    cache: Path

    @cached_property
    def images(self) -> ImageSet:
        """Images of the passes."""
        every = self.from_pixels.images
        return every if len(every) <= LIMIT else every.split(evaluation=LIMIT).evaluation

    def tokens(self) -> Iterator[SiteTokens]:
        """Yield the site's tokens of the images, which are numbered as in :attr:`images`."""
        yield from self._passes.tokens(np.arange(len(self.images)))

    @cached_property
    def _passes(self) -> Passes:
        passes = replace(self.from_pixels, images=self.images)
        source = {**passes.backbone.identity(), **passes.site.identity(), "images": self.images.fingerprint}
        if passes.alteration is not None:
            source |= passes.alteration.identity()
        folder = self.cache / "probing_images" / digest({"probing images": VERSION, **source}, length=24)

        def read(complete: Path) -> tuple[Passes, Mapping[str, str]]:
            meta = json.loads((complete / "meta.json").read_text())
            index = np.asarray(meta["index"], dtype=np.int64)
            return passes.resuming_from(complete / _STATES, meta["states"], index), meta["skipped"]

        report = BrokenReport()
        if (cached := read_cached(folder, read, self.images, report)) is not None:
            return cached
        partial = create_partial(folder, folder=True)
        try:
            meta = _write(passes, partial / _STATES, report)
            (partial / "meta.json").write_text(json.dumps(meta))
            replace_atomically(partial, folder)
        finally:
            remove(partial)
        return read(folder)[0]


def probing_images(passes: Passes, images: ImageSet, cache: Path) -> ProbingImages:
    """Return the probing images ``images`` of the network of ``passes``, which are over other images."""
    return ProbingImages(replace(passes, images=images, readable=None, states=None, crops=CropFolder.of(cache)), cache)


def _write(passes: Passes, file: Path, report: BrokenReport) -> dict[str, object]:
    """Run the images once, write the states before the site, and return the description of the file."""
    writer = passes.state_writer(file)
    index: list[np.ndarray] = []
    first: tuple[Tensor, Tensor] | None = None
    output = torch.empty(0)

    def observe(q: Tensor, a: Tensor) -> None:
        nonlocal output
        output = a.float().cpu()

    for passed in passes.run(observe, report=report, writer=writer):
        index.append(passed.image.numpy())
        first = (passed.features, output) if first is None else first
    readable = np.concatenate(index) if index else np.zeros(0, dtype=np.int64)
    shape = passes.finish_states(writer, file, readable, first)
    return {"index": readable.tolist(), "states": shape, "skipped": report.of(passes.images)}
