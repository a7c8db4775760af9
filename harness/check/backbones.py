"""Contract of a backbone (docs/plugins.md), checked on a few drawn images."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from harness import backbones
from harness.activations.site import Site
from harness.activations.sites import linear_paths, open_site
from harness.backbones.base import Backbone
from harness.backbones.sources.hub import in_huggingface_cache
from harness.check.finding import Finding, NotApplicable, other_globals, require, require_shape, run_all
from harness.check.world import drawn_images
from harness.errors import UserError
from results.byte_sizes import size_text

#: Allowed difference, as a fraction of the largest feature, between the same image alone and in a batch, and after the
#: layer's output is replaced by itself.
TOLERANCE = 1e-3
#: Largest model, in bytes, that is written to disk and read back as a checkpoint.
LARGEST_CHECKPOINT = 512 * 2**20


class CheckedBackbone:
    """Backbone of one spec, loaded when it is first used, with images preprocessed for it."""

    def __init__(self, spec: str, device: str) -> None:
        self.spec = spec
        self.device = device
        self.source: Any = None if ":" in spec else backbones.BACKBONES.get(spec)

    @cached_property
    def weights(self) -> bool:
        """True if the pretrained weights are on this machine, False if random ones are loaded instead."""
        if self.source is None:
            return _is_cached(self.spec)
        return self.source.available() == "yes" or not self.source.hub

    def load(self, *, weights: bool) -> Backbone:
        return backbones.build(self.spec, weights=weights, device=self.device)

    @cached_property
    def backbone(self) -> Backbone:
        with other_globals(1):
            return self.load(weights=self.weights)

    @cached_property
    def images(self) -> Tensor:
        """Three drawn images, preprocessed (3, 3, S, S)."""
        preprocessing, images = self.backbone.preprocessing, drawn_images()
        return torch.stack([preprocessing.center(images.open(number)) for number in range(3)]).to(self.device)

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
            candidates = linear_paths(self.backbone.model)
            require(
                bool(candidates), "The model has no nn.Linear and no 1x1 nn.Conv2d: there is no layer to decompose."
            )
            raise NotApplicable("default_site is not set; runs need --site")
        return open_site(self.backbone, path)


def check_backbone(spec: str, *, device: str = "cpu") -> list[Finding]:
    """Check a backbone by its registered name, or as ``prefix:identifier``.

    Its own weights are loaded if they are on this machine, random ones otherwise.
    """
    of = CheckedBackbone(spec, device)
    return run_all(CHECKS if of.source is not None else CHECKS[1:], of, required=(listing, loads, features))


def _is_cached(spec: str) -> bool:
    """Return True if the weights of ``prefix:identifier`` are available without a network."""
    prefix, _, identifier = spec.partition(":")
    if prefix in ("hf", "vlm") and Path(identifier).expanduser().is_dir():
        return True
    if prefix not in ("timm", "hf", "vlm"):
        return prefix != "torchhub"
    return in_huggingface_cache(f"timm/{identifier}" if prefix == "timm" else identifier)


def listing(of: CheckedBackbone) -> None:
    """Check the source's description, before anything is loaded."""
    spec, source = of.spec, of.source
    require(
        isinstance(source, backbones.Source), f"{spec!r} is registered as a {type(source).__name__}; register a Source."
    )
    require(
        source.name == spec,
        f"The Source has the name {source.name!r}, but is registered as {spec!r}; use the same name.",
    )
    empty = [name for name in ("title", "source", "license") if not str(getattr(source, name)).strip()]
    require(not empty, f"{', '.join(empty)} of the Source is empty: state the origin and the license of the weights.")


def loads(of: CheckedBackbone) -> str:
    """Check that a backbone of this name is loaded, and that its preprocessing gives images of the size it states."""
    backbone: Any = of.backbone
    require(isinstance(backbone, Backbone), f"build returns a {type(backbone).__name__}; it must return a Backbone.")
    name = backbones.name_of(of.spec)
    require(
        backbone.name == name,
        f"The backbone's name is {backbone.name!r}; it must be the requested {name!r}: set name=request.spec.",
    )
    shape, size = tuple(of.images.shape), backbone.preprocessing.size
    require(
        shape == (3, 3, size, size),
        f"preprocessing returns the shape {shape} for 3 images; it must be {(3, 3, size, size)}.",
    )
    return "" if of.weights else "with random weights: the pretrained ones are not on this machine"


def features(of: CheckedBackbone) -> str:
    """Check that features returns (B, d) float32, finite."""
    output = of.features
    require(
        output.ndim == 2 and len(output) == 3,
        f"features returns the shape {tuple(output.shape)} for 3 images; it must be (3, d).",
    )
    require(output.dtype == torch.float32, f"features returns {output.dtype}; it must return float32.")
    require(bool(torch.isfinite(output).all()), "features returns NaN or infinity.")
    return f"{output.shape[1]} features per image"


def independent_of_the_batch(of: CheckedBackbone) -> None:
    """Check that the features of an image depend neither on the others in its batch nor on chance."""
    with other_globals(2):
        alone = torch.cat([of.run(image[None]) for image in of.images])
    require(
        _near(alone, of.features),
        "The features of an image change with the batch it is in, or from call to call, for example by batch norm or "
        "dropout. Backbone sets `model` to evaluation mode; modules outside of it must be set by the plugin.",
    )


def different_features(of: CheckedBackbone) -> None:
    """Check that different images have different features."""
    spread = float((of.features[1:] - of.features[:1]).abs().max())
    require(spread > 1e-6, "All images have the same features: the features do not depend on the images.")


def default_site(of: CheckedBackbone) -> str:
    """Check that the layer exists, is linear and is called once, and that its tokens have positions."""
    captured = of.site.capture(of.backbone.features, of.images)
    of.site.check(captured)
    n = captured.a.shape[1]
    of.site.positions(n)
    return f"{of.site.path}: {of.site.d_in} -> {of.site.d_out}, {n} tokens"


def layer_affects_the_features(of: CheckedBackbone) -> None:
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


def head(of: CheckedBackbone) -> str:
    """Check that a head and its number of classes are given together, and match."""
    if of.backbone.head is None or of.backbone.n_classes is None:
        together = of.backbone.head is None and of.backbone.n_classes is None
        require(together, "`head` and `n_classes` belong together: set both, or neither.")
        raise NotApplicable("the backbone has no head; runs fit a linear probe")
    with torch.inference_mode():
        logits = of.backbone.head_logits(of.features)
    require_shape("The head", logits, "(B, n_classes)", (3, of.backbone.n_classes))
    return f"{of.backbone.n_classes} classes"


def reproducible(of: CheckedBackbone) -> None:
    """Check that loading the backbone again gives the same weights, with its own and with random ones."""
    for weights in dict.fromkeys((of.weights, False)):
        with other_globals(3):
            first = of.backbone if weights == of.weights else of.load(weights=weights)
        with other_globals(4):
            again = of.load(weights=weights)
        require(
            first.fingerprint() == again.fingerprint(),
            f"Loading it twice {'' if weights else 'with random weights '}gives two networks: seed the weights "
            "(torch.random.fork_rng and torch.manual_seed). Otherwise finished cells are never reused.",
        )
        if not weights:
            require(not again.pretrained, "With weights=False, `pretrained` is True; set pretrained=request.weights.")


def global_generator_unchanged(of: CheckedBackbone) -> None:
    """Check that loading does not change the state of torch's global random generator."""
    with other_globals(5):
        before = torch.random.get_rng_state()
        of.load(weights=of.weights)
        same = torch.equal(before, torch.random.get_rng_state())
    require(same, "Loading the backbone draws from torch's global generator; draw inside torch.random.fork_rng().")


def checkpoint(of: CheckedBackbone) -> str:
    """Check that --checkpoint FILE is read, or refused with a UserError, and never ignored."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in of.backbone.model.state_dict().items()}
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > LARGEST_CHECKPOINT:
        raise NotApplicable(
            f"the model has more than {size_text(LARGEST_CHECKPOINT)}, too much to write and read back here"
        )
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.mul_(1.5)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
        try:
            loaded = backbones.build(of.spec, checkpoint=file, device=of.device)
        except UserError as refusal:
            return f"refused: {refusal}"
    require(
        loaded.fingerprint() != of.backbone.fingerprint(),
        "request.checkpoint is ignored; read it with harness.backbones.sources.checkpoint.read_state_dict, or raise a "
        "UserError that says that checkpoints are not supported.",
    )
    return "read"


def _near(output: Tensor, expected: Tensor) -> bool:
    scale = float(expected.abs().max()) or 1.0
    return bool((output - expected).abs().max() <= TOLERANCE * scale)


#: Checks in the order in which they run. Each raises AssertionError with a sentence that explains the failure.
CHECKS: tuple[Callable[[CheckedBackbone], Any], ...] = (
    listing, loads, features, independent_of_the_batch, different_features, default_site, layer_affects_the_features,
    head, reproducible, global_generator_unchanged, checkpoint,
)  # fmt: skip
