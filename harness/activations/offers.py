"""Class names, pixels and the network for the fit of a method whose spec declares them.

Tokens lie on disk without their images. In a run the images and the backbone are at hand, so a thin wrapper adds them.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.site import Site
from harness.activations.site_network import SiteNetwork
from harness.backbones.base import Backbone
from harness.datasets.base import BrokenImageError, ImageSet
from harness.datasets.loading import crop_generator
from harness.errors import UserError
from methods.base import MethodSpec
from methods.interface import OFFERS

#: Field of a spec -> the attributes that it grants.
ATTRIBUTES = {
    "reads_class_names": ("class_names",),
    "reads_images": ("pixels", "box", "n_views", "view", "grid_side"),
    "needs_network": ("network",),
}
_OWNER = {attribute: flag for flag, attributes in ATTRIBUTES.items() for attribute in attributes}

#: Seed of the random crops of a probing set: they do not depend on the token seed.
CROP_SEED = 0


class Offer(NamedTuple):
    """Images and network that tokens come from."""

    images: ImageSet
    """probing images; ``tokens.image`` are positions in them"""
    crops: int
    """random crops per image; 0: the centre crop"""
    backbone: Backbone


class Granted(NamedTuple):
    """Arguments of ``fit``."""

    tokens: Any
    site: Any


def declared(*specs: MethodSpec) -> frozenset[str]:
    """Return the names of what the specs declare that ``fit`` reads."""
    return frozenset(flag for flag in OFFERS if any(getattr(spec, flag) for spec in specs))


def granted(tokens: Any, site: Site, offer: Offer | None, flags: Collection[str], name: str) -> Granted:
    """Return tokens and site that offer what a method declares; access to anything else is an error in one sentence.

    Args:
        tokens: token set of the site.
        site: site of the backbone.
        offer: images and network; None if there are none, so that a method that needs them is refused by its ``fit``.
        flags: what the method declares, see :func:`declared`.
        name: name of the method, for messages.
    """
    offered = frozenset(flags) if offer is not None else frozenset()
    wrapped = tokens if tokens is None else GrantedTokens(tokens, site, offer, offered, name)
    return Granted(wrapped, GrantedSite(site, offer) if offer is not None and "needs_network" in offered else site)


class GrantedTokens:
    """Proxy of a token set (:class:`methods.interface.ImageTokens`)."""

    def __init__(self, tokens: Any, site: Site, offer: Offer | None, offers: frozenset[str], name: str) -> None:
        self._wrapped, self._site, self._offer, self._name = tokens, site, offer, name
        self.offers = offers - {"needs_network"}
        self._known_side: int | None = None
        """0: no square grid; None: not known yet"""

    def __getattr__(self, name: str) -> Any:
        # Pickling and copying look attributes up before `_wrapped` exists.
        if name.startswith("__") or "_wrapped" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._wrapped, name)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self._granted("class_names").images.classes)

    @property
    def n_views(self) -> int:
        return max(1, self._granted("n_views").crops)

    @property
    def view(self) -> np.ndarray:
        self._granted("view")
        return np.asarray(self._wrapped.view)

    @property
    def grid_side(self) -> int | None:
        return self._side(self._granted("grid_side"))

    def pixels(self, image: int, view: int = 0) -> Tensor:
        """Return the pixels (3, S, S) uint8 of one view of an image.

        Raises:
            UserError: if there is no such image or view, or it cannot be read.
        """
        offer, n_views = self._granted("pixels"), self.n_views
        if not 0 <= image < len(offer.images) or not 0 <= view < n_views:
            raise UserError(
                f"There is no view {view} of an image {image}: there are the images 0 to {len(offer.images) - 1}, with "
                f"{'1 view' if n_views == 1 else f'{n_views} views'} each."
            )
        try:
            opened = offer.images.open(int(image))
        except BrokenImageError as error:
            raise UserError(f"The image {error.name} cannot be read ({error.reason}), so it has no tokens.") from error
        preprocessing = offer.backbone.preprocessing
        if offer.crops:
            pixels = preprocessing.random_pixels(opened, crop_generator(CROP_SEED, int(image), int(view)))
        else:
            pixels = preprocessing.center_pixels(opened)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def box(self, position: int) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of the pixels of a view in the cell of a grid position.

        Raises:
            UserError: if the position is not on a square grid.
        """
        offer = self._granted("box")
        side, size = self._side(offer), offer.backbone.preprocessing.size
        if side is None or not 0 <= position < side**2:
            where = "the layer's tokens form no square grid" if side is None else f"the grid has 0 to {side**2 - 1}"
            raise UserError(f"The position {position} has no box: {where}.")
        row, column = divmod(int(position), side)
        return row * size // side, column * size // side, (row + 1) * size // side, (column + 1) * size // side

    def _granted(self, attribute: str) -> Offer:
        """Return the offer if the method declares what an attribute needs."""
        flag = _OWNER[attribute]
        if flag not in self.offers or self._offer is None:
            raise UserError(
                f"{self._name} reads tokens.{attribute}, which its spec does not declare: add {flag}=True to its "
                "MethodSpec."
            )
        return self._offer

    def _side(self, offer: Offer) -> int | None:
        if self._known_side is None:
            backbone = offer.backbone
            n_tokens = self._site.capture(backbone.features, backbone.blank_images(1)).a.shape[1]
            on_grid = int((self._site.positions(n_tokens) >= 0).sum())
            self._known_side = math.isqrt(on_grid) if math.isqrt(on_grid) ** 2 == on_grid else 0
        return self._known_side or None


class GrantedSite:
    """Proxy of a site with its network (:class:`methods.interface.NetworkSite`)."""

    offers = frozenset({"needs_network"})

    def __init__(self, site: Site, offer: Offer) -> None:
        self._wrapped, self._offer = site, offer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_wrapped" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._wrapped, name)

    @cached_property
    def network(self) -> SiteNetwork:
        """Copy of the network, made when it is first needed."""
        return SiteNetwork(self._offer.backbone, self._wrapped)
