"""Network around a site, as methods that compute gradients are given it (:class:`methods.interface.Network`)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from harness.activations.site import Site
from harness.backbones.base import Backbone
from harness.errors import UserError, first_line
from methods.interface import Edit


class SiteNetwork:
    """Copy of a backbone that can be run with the output of one layer replaced, with gradients.

    Args:
        backbone: the backbone; it is copied, so that what a method does to the copy changes no other cell.
        site: the layer, in that backbone.

    Raises:
        UserError: if the network cannot be copied.
    """

    def __init__(self, backbone: Backbone, site: Site) -> None:
        try:
            self.module = copy.deepcopy(backbone.model)
        except Exception as error:  # code of the network's author
            raise UserError(f"The network {backbone.name} cannot be copied ({first_line(error)}).") from error
        self._backbone = replace(backbone, model=self.module)
        self._site = type(site)(
            self.module, site.path, n_prefix_tokens=site.n_prefix_tokens, grid_sides=site.grid_sides
        )
        self.n_classes = None if backbone.head is None else backbone.n_classes

    def inputs(self, pixels: Tensor) -> Tensor:
        """Return the network's inputs (B, 3, S, S) for pixels (B, 3, S, S) uint8, on the network's device.

        Raises:
            UserError: for another shape or type.
        """
        side = self._backbone.preprocessing.size
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, side, side):
            raise UserError(
                f"network.inputs was given {pixels.dtype} {tuple(pixels.shape)}; it needs uint8 pixels (B, 3, {side}, "
                f"{side}): torch.stack([tokens.pixels(image), ...])."
            )
        normalised = self._backbone.preprocessing.normalised
        rows = [normalised(image.permute(1, 2, 0).cpu().numpy()) for image in pixels]
        return torch.stack(rows).to(self._backbone.device) if rows else self._backbone.blank_images(0)

    def output(self, images: Tensor) -> Tensor:
        """Return the layer's output a (B, T, d_out) for inputs (B, 3, S, S), without gradients."""
        # A copy, since tensors of the inference mode cannot take part in a graph.
        return self._site.capture(self._backbone.features, images).a.clone()

    def features(self, images: Tensor, edit: Edit | None = None) -> Tensor:
        """Return the pooled features (B, d) at the end of the network, for inputs (B, 3, S, S)."""
        return self._run(self._backbone.features, images, edit)

    def logits(self, images: Tensor, edit: Edit | None = None) -> Tensor:
        """Return the logits (B, n_classes) of the network's own head.

        Raises:
            UserError: if it has none.
        """
        if self.n_classes is None:
            raise UserError(
                f"The backbone {self._backbone.name} has no classification head, so site.network has no logits: use "
                "site.network.features, or choose a backbone with a head."
            )
        return self._backbone.head_logits(self.features(images, edit))

    def _run(self, run: Callable[[Tensor], Tensor], images: Tensor, edit: Edit | None) -> Tensor:
        if edit is None:
            return run(images)
        with self._site.tapped(lambda q, a: edit(a), len(images)):
            return run(images)
