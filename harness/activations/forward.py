"""Passes over an evaluation split: each batch runs through the network once, with a tap at the site."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.center_crops import SPARE, CropFolder, center_batches
from harness.activations.prefix_cache import States, StateWriter, find_cut
from harness.activations.site import Run, Site, Tap
from harness.alterations import Alteration
from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport, ImageBatch


class Passed(NamedTuple):
    """One batch of a pass."""

    image: Tensor
    """(B,) int64 image indices of the split, ascending over the pass"""
    features: Tensor
    """(B, d) input of a head, from the network as modified by the tap"""


class SiteTokens(NamedTuple):
    """Tokens of the site for some images."""

    image: Tensor
    """(B,) int64 image indices of the split, ascending"""
    q: Tensor
    """(B, T, d_in) input of the layer"""
    a: Tensor
    """(B, T, d_out) output of the layer"""


@dataclass(frozen=True)
class Passes:
    """Settings and state for running an evaluation split through one backbone."""

    backbone: Backbone
    site: Site
    images: ImageSet
    batch_size: int
    network: Run
    """runs the whole network: images (B, 3, S, S) to features (B, d)"""
    readable: np.ndarray | None = None
    """(n,) int64: the images that can be read; None until that is known"""
    states: States | None = None
    """stored states to start passes from instead of from the pixels"""
    crops: CropFolder | None = None
    """folder of the images' decoded crops; None to decode the images in every pass"""
    alteration: Alteration | None = None
    """change of the images"""

    def of_images(self, images: np.ndarray) -> Passes:
        """Return the passes over some images (n,), ascending, that can be read. Their batches are other ones."""
        if self.states is None or self.readable is None:
            return replace(self, readable=images, states=None)
        return replace(self, readable=images, states=self.states.of_rows(np.searchsorted(self.readable, images)))

    def run(
        self, tap: Tap, *, report: BrokenReport | None = None, writer: StateWriter | None = None
    ) -> Iterator[Passed]:
        """Run the split. ``tap`` is called with the site's tokens of each batch just before the batch is yielded."""
        if self.states is not None and self.readable is not None:
            yield from self._from_states(tap, self.states, self.readable)
            return
        report = BrokenReport() if report is None else report
        for batch in self._batches(self.readable, report):
            with writer.recording() if writer else nullcontext():
                features = self.site.replace(self.network, batch.images.to(self.backbone.device), tap)
            yield Passed(batch.index, features)

    def _batches(self, positions: np.ndarray | None, report: BrokenReport) -> Iterator[ImageBatch]:
        return center_batches(
            self.images,
            self.backbone.preprocessing,
            batch_size=self.batch_size,
            report=report,
            crops=self.crops,
            positions=positions,
            alteration=self.alteration,
        )

    def _from_states(self, tap: Tap, states: States, readable: np.ndarray) -> Iterator[Passed]:
        ranges = _ranges(len(readable), self.batch_size)
        with closing(states.read(ranges)) as read:
            for batch_range, state in zip(ranges, read, strict=True):
                # Modules before the cut do not affect the result, so blank images can stand for all.
                blank = self.backbone.blank_images(len(batch_range))
                with states.resumed(state.to(self.backbone.device)):
                    features = self.site.replace(self.network, blank, tap)
                yield Passed(torch.from_numpy(readable[batch_range.start : batch_range.stop]), features)

    def tokens(self, images: np.ndarray) -> Iterator[SiteTokens]:
        """Yield the site's tokens of some images; the network is run up to the site only.

        Args:
            images: (n,) ascending image indices of the split. Images that cannot be read are left out.
        """
        readable = np.arange(len(self.images)) if self.readable is None else self.readable
        chosen = np.intersect1d(images, readable)
        if self.states is None:
            for batch in self._batches(chosen, BrokenReport()):
                captured = self.site.capture(self.network, batch.images.to(self.backbone.device))
                yield SiteTokens(batch.index, captured.q, captured.a)
            return
        # Only the batches that hold a chosen image, in the batches of every other pass.
        ranges = [
            batch_range
            for batch_range in _ranges(len(readable), self.batch_size)
            if np.isin(readable[batch_range.start : batch_range.stop], chosen).any()
        ]
        with closing(self.states.read(ranges)) as read:
            for batch_range, state in zip(ranges, read, strict=True):
                rows = readable[batch_range.start : batch_range.stop]
                wanted = torch.from_numpy(np.flatnonzero(np.isin(rows, chosen)))
                with self.states.resumed(state.to(self.backbone.device)):
                    captured = self.site.capture(self.network, self.backbone.blank_images(len(rows)))
                yield SiteTokens(torch.from_numpy(rows)[wanted], captured.q[wanted], captured.a[wanted])

    def inputs(self, images: np.ndarray) -> Tensor:
        """Return the network's inputs (n, 3, S, S) for ascending image indices (n,) of the split, on the CPU."""
        return torch.cat([batch.images for batch in self._batches(images, BrokenReport())])

    def state_writer(self, file: Path) -> StateWriter | None:
        """Return a writer for the states of the first pass, or None if the network cannot be cut."""
        cut = find_cut(self.backbone.model, self.site.path)
        spare = SPARE if self.crops is None else self.crops.spare
        return None if cut is None else StateWriter(cut, len(self.images), file, spare)

    def resuming_from(self, file: Path, shape: Sequence[int] | None, readable: np.ndarray) -> Passes:
        """Return these passes over the ``readable`` images, starting from the states of ``shape`` in ``file`` if any.

        Raises:
            OSError, ValueError: if the file is missing or damaged.
        """
        cut = find_cut(self.backbone.model, self.site.path)
        states = None if shape is None or cut is None else States(file, tuple(shape), cut)
        return replace(self, states=states, readable=readable)

    def finish_states(
        self, writer: StateWriter | None, file: Path, readable: np.ndarray, first: tuple[Tensor, Tensor] | None
    ) -> tuple[int, ...] | None:
        """Return the shape of the states that a pass has written, or None (and no file) if passes cannot start there.

        Args:
            writer: what wrote them; None: nothing did.
            file: the file.
            readable: (n,) the images of the pass.
            first: features and output of its first batch, which a resumed pass must give to the bit.
        """
        if writer is None or first is None or (shape := writer.finish()) is None:
            return None
        # The output as well: that of a layer before the cut is of the blank image, and edits have no effect.
        if all(map(torch.equal, self.resuming_from(file, shape, readable).first_features(), first)):
            return shape
        file.unlink()
        return None

    def first_features(self) -> tuple[Tensor, Tensor]:
        """Return the features (B, d) of the first batch of the unmodified network, and the layer's output there."""
        outputs: list[Tensor] = []
        passed = next(self.run(lambda q, a: outputs.append(a.float().cpu())))
        return passed.features, outputs[0]


def _ranges(n: int, size: int) -> list[range]:
    """Return consecutive ranges of at most ``size`` that cover 0 to n."""
    return [range(start, min(start + size, n)) for start in range(0, n, size)]
