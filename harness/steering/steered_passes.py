"""Passes of images through a network with an intervention, beside the unmodified network in the same batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.interventions import Edit, image_norms, intervened, random_change
from harness.activations.site import Tap
from harness.errors import UserError
from harness.steering.stored_layers import StoredLayer
from methods.base import Method, Progress, no_progress


class Logits(NamedTuple):
    """Logits of a pass."""

    image: np.ndarray
    """(n,) int64 image indices of the split, ascending"""
    logits: Tensor
    """(n, n_classes) float32 on the CPU"""


class Control(NamedTuple):
    """Logits of a pass with random units."""

    logits: Tensor
    """(n, n_classes) float32 on the CPU"""
    missing: Tensor
    """(n,) bool: images that the edit changes and on which no other unit is active, so that nothing was changed"""


class Touched(NamedTuple):
    """Tokens that an intervention edited."""

    image: np.ndarray
    """(n,) int64"""
    mask: Tensor
    """(n, T, m) bool, for the units of the edit"""
    size: Tensor
    """(n,) float32 norm of the change of the layer's output"""
    change: Tensor
    """(n,) float32 the same over the norm of the output"""


class SteeredPasses:
    """Passes over images of the evaluation split.

    Args:
        layer: the layer.
        method: a fitted method of it.
        images: (n,) ascending image indices of the evaluation split; None: all.

    Raises:
        UserError: if an image does not exist or cannot be read.
    """

    def __init__(self, layer: StoredLayer, method: Method, images: np.ndarray | None = None) -> None:
        self.layer, self.method = layer, method
        passes = layer.baseline.passes
        if images is not None:
            readable = np.arange(len(passes.images)) if passes.readable is None else passes.readable
            if len(missing := np.setdiff1d(images, readable)):
                raise UserError(f"There is no readable evaluation image {int(missing[0])}.")
            passes = passes.of_images(images)
        self._passes = passes
        self._positions: Tensor | None = None

    def _run(self, tap: Tap, progress: Progress, what: str) -> Logits:
        head, indices, rows = self.layer.baseline.head, [], []
        done, total = 0, len(self._passes.images if self._passes.readable is None else self._passes.readable)
        for passed in self._passes.run(tap):
            with torch.inference_mode():
                rows.append(head.logits(passed.features).float().cpu())
            indices.append(passed.image.numpy())
            done += len(passed.image)
            progress(done, total, what)
        if not rows:
            raise UserError("None of the images can be read.")
        logits = torch.cat(rows)
        if not bool(torch.isfinite(logits).all()):
            raise UserError("The network predicts NaN or infinity with this edit: use smaller factors or fewer units.")
        return Logits(np.concatenate(indices), logits)

    def clean(self, progress: Progress = no_progress) -> Logits:
        """Return the logits of the unmodified network."""
        return self._run(lambda q, a: None, progress, "images, unmodified")

    def edited(self, edit: Edit, progress: Progress = no_progress) -> tuple[Logits, Touched]:
        """Return the logits with an edit, and what it edited."""
        masks: list[Tensor] = []
        sizes: list[Tensor] = []
        changes: list[Tensor] = []

        def tap(q: Tensor, a: Tensor) -> Tensor:
            done = intervened(self.method, edit, q, a, self.positions(a))
            masks.append(done.touched.cpu())
            sizes.append(image_norms(done.output - a))
            changes.append(sizes[-1] / image_norms(a).clamp(min=1e-12))
            return done.output

        logits = self._run(tap, progress, "images, steered")
        return logits, Touched(logits.image, torch.cat(masks), torch.cat(sizes).cpu(), torch.cat(changes).cpu())

    def control(self, edit: Edit, sizes: Tensor, seed: int, progress: Progress = no_progress) -> Control:
        """Return the logits with random units in place of those of an edit.

        Args:
            edit: the edit.
            sizes: (n,) norm of the change of each image: :attr:`Touched.size` of the edit.
            seed: random seed of the units.
            progress: receives the progress.
        """
        order, left = iter(self._order()), iter(sizes.split(1))
        missing: list[Tensor] = []

        def tap(q: Tensor, a: Tensor) -> Tensor:
            images = [next(order) for _ in range(len(a))]
            positions = self.positions(a)
            wanted = torch.cat([next(left) for _ in images]).to(a.device)
            change = random_change(self.method, edit, q, a, positions, images, seed)
            size = image_norms(change)
            factor = torch.where(size > 0, wanted / size.clamp(min=1e-30), 0.0)
            missing.append(((wanted > 0) & (size == 0)).cpu())
            return a + change * factor[:, None, None]

        logits = self._run(tap, progress, "images, random units")
        return Control(logits.logits, torch.cat(missing))

    def positions(self, a: Tensor) -> Tensor:
        """Return the positions (T,) of the tokens of an output (B, T, d_out)."""
        if self._positions is None or len(self._positions) != a.shape[1]:
            self._positions = self.layer.prepared.site.positions(a.shape[1])
        positions: Tensor = self._positions
        return positions

    def _order(self) -> list[int]:
        """Return the images in the order of a pass: those that cannot be read are left out of it, as they are here."""
        readable = self._passes.readable
        return (np.arange(len(self._passes.images)) if readable is None else readable).tolist()
