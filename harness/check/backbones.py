"""Contract of a backbone (docs/plugins.md), checked on a few drawn images."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from harness import backbones
from harness.activations.site import Site, site_paths
from harness.backbones.base import Backbone
from harness.check.finding import Finding, NotApplicable, other_globals, require, run, run_all
from harness.check.world import drawn_images
from harness.errors import UserError

#: Allowed difference, as a fraction of the largest feature, between the same image alone and in a batch, and after the
#: layer's output is replaced by itself.
TOLERANCE = 1e-3
#: Largest model, in bytes, that is written to disk and read back as a checkpoint.
LARGEST_CHECKPOINT = 512 * 2**20


@dataclass
class Loaded:
    """Loaded backbone with images preprocessed for it."""

    spec: str
    backbone: Backbone
    images: Tensor
    """(3, 3, S, S)"""
    weights: bool
    """True if its own weights were loaded, False for random ones"""
    device: str

    @cached_property
    def features(self) -> Tensor:
        return self.run(self.images)

    def run(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.backbone.features(images)

    @cached_property
    def site(self) -> Site:
        path = self.backbone.default_site
        if path is None:
            known = site_paths(self.backbone.model)
            require(bool(known), "The model has no nn.Linear and no 1x1 nn.Conv2d: there is nothing to take apart.")
            raise NotApplicable("it has no default_site; runs must say --site")
        return Site(self.backbone.model, path, n_prefix_tokens=self.backbone.n_prefix_tokens)


def check_backbone(spec: str, *, device: str = "cpu") -> list[Finding]:
    """Check a backbone by its registered name, or as ``prefix:identifier``.

    Its own weights are loaded if they are on this machine, random ones otherwise.
    """
    weights = True
    findings: list[Finding] = []
    if ":" not in spec:
        source = backbones.BACKBONES.get(spec)
        findings.append(run("listing", lambda: listing(spec, source)))
        if not findings[-1].ok:
            return findings
        weights = source.available() == "yes" or not source.hub
    else:
        weights = _here(spec)
    made: list[Loaded] = []

    def load() -> str:
        with other_globals(1):
            found = backbones.load(spec, weights=weights, device=device)
        require(isinstance(found, Backbone), f"build gives a {type(found).__name__}; it gives a Backbone.")
        require(found.name == spec, f"Its name is {found.name!r}; it is the spec that loads it: name=request.spec.")
        size = found.preprocessing.size
        images = torch.stack([found.preprocessing.center(drawn_images().open(number)) for number in range(3)])
        require(tuple(images.shape) == (3, 3, size, size), f"preprocessing gives {tuple(images.shape)}.")
        made.append(Loaded(spec, found, images.to(device), weights, device))
        return "" if weights else "with random weights: its own are not on this machine"

    findings.append(run("loads", load))
    if not made:
        return findings
    findings.append(run("features", lambda: features(made[0])))
    # Without features all other checks would fail for the same reason.
    return findings + run_all(CHECKS, made[0]) if findings[-1].ok else findings


def _here(spec: str) -> bool:
    """Return True if the weights of ``prefix:identifier`` are available without a network."""
    from harness.backbones.sources.hub import in_huggingface_cache

    prefix, _, identifier = spec.partition(":")
    if prefix not in ("timm", "hf"):
        return prefix != "torchhub"
    return in_huggingface_cache(f"timm/{identifier}" if prefix == "timm" else identifier)


def listing(spec: str, source: Any) -> None:
    """Check the source's description, before anything is loaded."""
    require(isinstance(source, backbones.Source), f"{spec!r} is a {type(source).__name__}; register a Source.")
    require(source.name == spec, f"The Source is called {source.name!r} and registered as {spec!r}.")
    empty = [name for name in ("title", "source", "license") if not str(getattr(source, name)).strip()]
    require(
        not empty, f"{', '.join(empty)} of the Source is empty: say where the weights come from and what allows it."
    )


def features(of: Loaded) -> str:
    """Check that features gives (B, d) float32, finite."""
    found = of.features
    require(found.ndim == 2 and len(found) == 3, f"features gives {tuple(found.shape)} for 3 images; it is (3, d).")
    require(found.dtype == torch.float32, f"features gives {found.dtype}; it is float32.")
    require(bool(torch.isfinite(found).all()), "features gives NaN or infinity.")
    return f"{found.shape[1]} numbers an image"


def each_image_alone(of: Loaded) -> None:
    """Check that the features of an image depend neither on the others in its batch nor on chance."""
    with other_globals(2):
        alone = torch.cat([of.run(image[None]) for image in of.images])
    require(
        _near(alone, of.features),
        "The features of an image change with the batch it is in, or from call to call: batch norm or dropout is at "
        "work. Backbone puts `model` into evaluation mode; what is outside of it you must.",
    )


def tells_images_apart(of: Loaded) -> None:
    """Check that different images have different features."""
    spread = float((of.features[1:] - of.features[:1]).abs().max())
    require(spread > 1e-6, "All images have the same features: the network does not see them.")


def default_site(of: Loaded) -> str:
    """Check that the layer exists, is linear and is called once, and that its tokens have positions."""
    captured = of.site.capture(of.backbone.features, of.images)
    of.site.check_linear(captured)
    n = captured.a.shape[1]
    prefix = of.backbone.n_prefix_tokens
    grid = int((of.site.positions(n) >= 0).sum())
    square = math.isqrt(grid) ** 2 == grid
    likely = [count for count in range(9) if count < n and math.isqrt(n - count) ** 2 == n - count]
    require(
        square or not likely,
        f"The layer has {n} tokens and n_prefix_tokens is {prefix}: {grid} are no square grid, and {n} less "
        f"{' or '.join(map(str, likely))} would be. Count CLS and register tokens.",
    )
    return f"{of.site.path}: {of.site.d_in} -> {of.site.d_out}, {n} tokens"


def layer_is_felt(of: Loaded) -> None:
    """Check that replacing the layer's output by itself changes nothing, and by zeros something.

    Metrics rely on both.
    """
    same = of.site.replace(of.backbone.features, of.images, lambda q, a: a)
    require(_near(same, of.features), "Replacing the layer's output by itself changes the features.")
    zero = of.site.replace(of.backbone.features, of.images, lambda q, a: torch.zeros_like(a))
    require(
        not torch.equal(zero, of.features),
        f"Replacing the output of {of.site.path} by zeros changes nothing: features must run the whole network, with "
        "that layer in it, each time.",
    )


def own_head(of: Loaded) -> str:
    """Check that a head and its number of classes are given together, and match."""
    if of.backbone.head is None or of.backbone.n_classes is None:
        together = of.backbone.head is None and of.backbone.n_classes is None
        require(together, "`head` and `n_classes` belong together: give both, or neither.")
        raise NotApplicable("it has no head of its own; a linear probe is fitted")
    with torch.inference_mode():
        logits = of.backbone.own_logits(of.features)
    wanted = (3, of.backbone.n_classes)
    require(tuple(logits.shape) == wanted, f"The head gives {tuple(logits.shape)}; it is (B, n_classes) = {wanted}.")
    return f"{of.backbone.n_classes} classes"


def same_again(of: Loaded) -> None:
    """Check that loading the backbone again gives the same weights, with its own and with random ones."""
    for weights in dict.fromkeys((of.weights, False)):
        with other_globals(3):
            first = of.backbone if weights == of.weights else _load(of, weights=weights)
        with other_globals(4):
            again = _load(of, weights=weights)
        require(
            first.fingerprint() == again.fingerprint(),
            f"Loading it twice {'' if weights else 'with random weights '}gives two networks: seed the weights "
            "(torch.random.fork_rng and torch.manual_seed), or no finished cell is ever found again.",
        )
        if not weights:
            require(not again.pretrained, "With weights=False `pretrained` is True; it is request.weights at most.")


def generators_left_alone(of: Loaded) -> None:
    """Check that loading does not change the state of torch's global random generator."""
    with other_globals(5):
        before = torch.random.get_rng_state()
        _load(of, weights=of.weights)
        same = torch.equal(before, torch.random.get_rng_state())
    require(same, "Loading it draws from torch's global generator; do it inside torch.random.fork_rng().")


def checkpoint(of: Loaded) -> str:
    """Check that --checkpoint FILE is read, or refused with a UserError, and never ignored."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in of.backbone.model.state_dict().items()}
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > LARGEST_CHECKPOINT:
        raise NotApplicable("it is too large to be written and read back here")
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.mul_(1.5)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
        try:
            found = backbones.load(of.spec, checkpoint=file, device=of.device)
        except UserError as refusal:
            return f"refused: {refusal}"
    require(
        found.fingerprint() != of.backbone.fingerprint(),
        "A checkpoint is passed over in silence; read it (harness.backbones.sources.checkpoint.read_state_dict, "
        "request.checkpoint), or raise UserError saying that it takes none.",
    )
    return "read"


def _load(of: Loaded, *, weights: bool) -> Backbone:
    return backbones.load(of.spec, weights=weights, device=of.device)


def _near(one: Tensor, other: Tensor) -> bool:
    scale = float(other.abs().max()) or 1.0
    return bool((one - other).abs().max() <= TOLERANCE * scale)


#: Name -> check; each raises AssertionError with the sentence that explains the failure.
CHECKS: dict[str, Callable[[Loaded], Any]] = {
    "each image by itself": each_image_alone,
    "tells images apart": tells_images_apart,
    "default site": default_site,
    "the layer is felt": layer_is_felt,
    "own head": own_head,
    "the same again": same_again,
    "generators left alone": generators_left_alone,
    "checkpoint": checkpoint,
}
