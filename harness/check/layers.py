"""Layer and tokens on which a method is checked: a small drawn one, one of a network on drawn images, or a real one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness import backbones, datasets
from harness.activations.collect import collect
from harness.activations.linear_site import LinearLayerSite
from harness.activations.offers import Offer
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Site
from harness.activations.token_set import TokenSet
from harness.backbones.base import Backbone
from harness.cells.plan import open_target
from harness.check.world import SmallTokens, drawn_images, drawn_network, small_layer
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.suites import Target
from methods.plugin_calls import calling

#: Images and tokens per image of a check at a real layer: as many tokens as the small layer has.
IMAGES, TOKENS_PER_IMAGE = 60, 10
#: Image set of a check at a real layer if none is named.
PHOTOGRAPHS = f"photos:{IMAGES}"
#: Crops of the drawn images: tokens of several views.
_CROPS = 2


class LayerName(NamedTuple):
    """Names of a real layer and of the images that are run through its network."""

    backbone: str
    site: str | None = None
    """module path; None: the default of the backbone"""
    dataset: str = PHOTOGRAPHS


class CheckLayer(NamedTuple):
    """Arguments of the fits of a check, and what they may be offered."""

    site: Site
    tokens: SmallTokens
    offer: Offer | None = None
    """None: neither images nor network"""
    title: str = ""
    """of a real layer"""


class OpenedLayer(NamedTuple):
    """Layer of a loaded backbone, with images."""

    backbone: Backbone
    site: Site
    probing: ImageSet

    def collected(self) -> CheckLayer:
        """Run the images through the network, and return a few hundred tokens of the layer."""
        plan = ProbingPlan(crops=0, tokens_per_image=TOKENS_PER_IMAGE, dtype="float32", seed=1)
        tokens = _collected(self.backbone, self.site, self.probing, plan)
        title = f"{self.site.path} of {self.backbone.title}, {tokens.n} tokens of {self.probing.name}"
        return CheckLayer(self.site, tokens, Offer(self.probing, plan.crops, self.backbone), title)


def plain_layer(d_in: int | None, d_out: int | None) -> CheckLayer:
    """Return a small layer with drawn tokens, without images and network; widths of None: 24 inputs, 8 outputs."""
    site, tokens = small_layer(width=d_out, d_in=d_in)
    return CheckLayer(site, tokens)


def drawn_layer(d_in: int | None, d_out: int | None, device: str) -> CheckLayer:
    """Return a layer of a network with random weights and a head of three classes, and tokens of drawn images."""
    backbone = drawn_network(d_in or 24, d_out or 8, with_head=True)
    backbone.model.to(device)
    site, images = LinearLayerSite(backbone.model, "mix"), drawn_images(IMAGES)
    plan = ProbingPlan(crops=_CROPS, tokens_per_image=TOKENS_PER_IMAGE // _CROPS, dtype="float32", seed=1)
    tokens = _collected(backbone, site, images, plan)
    return CheckLayer(site, tokens, Offer(images, plan.crops, backbone))


def open_layer(name: LayerName, device: str) -> OpenedLayer:
    """Load a backbone and images, and open the layer.

    Raises:
        UserError: if there is no such backbone, layer or image set.
    """
    if not name.backbone or name.site == "":
        raise UserError("The name of the backbone or of the layer is empty; give both, or None for the default layer.")
    target = Target(backbone=name.backbone, site=name.site)
    images = datasets.load(name.dataset)
    if len(images) > IMAGES:
        images = images.subset(np.linspace(0, len(images) - 1, IMAGES).round().astype(int))
    backbone = backbones.load(name.backbone, device=device)
    with calling(backbones.BACKBONES, name.backbone):
        return OpenedLayer(backbone, open_target(target, backbone), images)


def _collected(backbone: Backbone, site: Site, images: ImageSet, plan: ProbingPlan) -> SmallTokens:
    with tempfile.TemporaryDirectory() as folder:
        (tokens,) = collect(backbone, site, images, [plan], Path(folder))
        return _in_memory(tokens, site)


def _in_memory(tokens: TokenSet, site: Site) -> SmallTokens:
    rows = np.arange(tokens.n)
    a = tokens.gather("output", rows)
    q = tokens.gather("input", rows) if "input" in site.fields else None
    return SmallTokens(q, a, tokens.image.copy(), tokens.position.copy(), tokens.label.copy(), tokens.view.copy())
