"""Registry of backbones: packaged ones that need no network, the paper's, and any of timm, Hugging Face or torch.hub.

A spec is a registered name (``dinov2_small_saliency``) or ``prefix:identifier`` (``timm:vit_base_patch14_dinov2``,
``hf:google/siglip2-base-patch16-224``, ``torchhub:facebookresearch/dinov2:dinov2_vitb14``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.backbones.sources.base import TIMM, Request, Source, resolve
from methods.errors import UserError
from methods.plugin_calls import calling, calling_object
from methods.registry import Registry

if TYPE_CHECKING:
    import torch

    from harness.backbones.base import Backbone


BACKBONES: Registry[Source] = Registry("backbone", "harness.backbones", package="harness.backbones.models")


names = BACKBONES.names


class Prefix(NamedTuple):
    """Loader of the specs with one prefix (the part before the colon)."""

    load: str | Callable[[Request], Backbone]
    """called with a :class:`~harness.backbones.sources.base.Request`; ``"module:function"`` is imported when needed"""
    built_from: str | Callable[[str], str | None] | None = None
    """for models whose weights come from no hub: function from the identifier (the part after the colon) to the
    registered backbone that the model is built from, or None if its weights are drawn"""
    named: str | Callable[[str], str] | None = None
    """for specs that hold a path of this machine: function from the identifier to the backbone's name in results"""
    title: str = ""
    """description for listings"""
    requires: tuple[tuple[str, str], ...] = ()
    """import name and installation name of each package it needs"""
    cached: str | Callable[[str], bool] | None = None
    """for weights from the Hugging Face hub: function from the identifier to True if a copy is on this machine; by
    default the identifier is looked up as a repository"""


class _Prefixes(Mapping[str, Prefix]):
    """Mapping of the prefixes in order of registration.

    Modules in ``harness.backbones.models`` and plugins register more prefixes; they are discovered on access.
    """

    def __init__(self, **entries: Prefix) -> None:
        self.entries = entries

    def __getitem__(self, name: str) -> Prefix:
        if name not in self.entries:
            BACKBONES.discover()
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        BACKBONES.discover()
        return iter(self.entries)

    def __len__(self) -> int:
        BACKBONES.discover()
        return len(self.entries)


PREFIXES = _Prefixes(
    timm=Prefix("harness.backbones.sources.timm:load", title="any model of timm", requires=(TIMM,)),
    hf=Prefix(
        "harness.backbones.sources.huggingface:load",
        named="harness.backbones.sources.huggingface_folders:name_of",
        title="any vision model of the Hugging Face hub, or a folder",
        requires=(("transformers", "transformers"),),
    ),
    torchhub=Prefix(
        "harness.backbones.sources.torchhub:load",
        named="harness.backbones.sources.torchhub:name_of",
        title="OWNER/REPOSITORY:ENTRY of torch.hub, or the folder of a clone",
    ),
)


def register_prefix(name: str, prefix: Prefix) -> Prefix:
    """Register a prefix, so that ``name:identifier`` is a backbone spec; for plugins, for example.

    Raises:
        UserError: if the name is taken.
    """
    if PREFIXES.entries.get(name, prefix) != prefix:
        raise UserError(f"The backbone prefix {name!r} is registered twice. Rename one of them.")
    PREFIXES.entries[name] = prefix
    return prefix


def register(source: Source) -> Source:
    """Register a backbone under its name; for plugins, for example."""
    BACKBONES.add(source.name, source, description=source.title)
    return source


class BackboneRow(NamedTuple):
    """Row of ``harness list backbones``."""

    name: str
    title: str
    source: str
    license: str
    available: str


def describe() -> list[BackboneRow]:
    """List the registered backbones with source, licence and current availability. No weights are loaded.

    ``available`` is ``"yes"``, ``"needs network"`` (or ``--checkpoint``), ``"needs package X"``, or ``"broken: ..."``
    for a plugin that failed to load.
    """
    rows = []
    for name in names():
        try:
            source = _source(name)
            with calling(BACKBONES, name):
                rows.append(BackboneRow(name, source.title, source.source, source.license, source.available()))
        except Exception as error:  # one bad plugin must not hide the others
            rows.append(BackboneRow(name, "", BACKBONES.entries[name].source, "", f"broken: {error}"))
    for plugin in BACKBONES.broken.values():
        rows.append(BackboneRow(plugin.name, "", plugin.source, "", f"broken: {plugin.reason}"))
    return rows


def load(
    spec: str, *, checkpoint: str | Path | None = None, weights: bool = True, device: str | torch.device = "cpu"
) -> Backbone:
    """Load a frozen backbone, ready to run, and check it with a few forward passes (:mod:`.load_checks`).

    Args:
        spec: a registered name or ``prefix:identifier`` with a registered prefix (timm, hf, torchhub, ...).
        checkpoint: local weights in place of the source's: a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file, or
            for ``hf:`` a folder with a configuration and weights. Pickles that hold more than tensors are refused.
        weights: False for random weights of a fixed seed (then ``pretrained`` is False).
        device: device of the model.

    Raises:
        UserError: for an unknown spec (the message names the nearest), a missing package, a failed download, weights
            that do not fit, both ``checkpoint`` and ``weights=False``, or a model that fails a check.
    """
    from harness.backbones.load_checks import check_loaded  # imports torch, which listings do not need

    backbone = build(spec, checkpoint=checkpoint, weights=weights, device=device)
    with calling(BACKBONES, spec):
        check_loaded(backbone)
    return backbone


def build(
    spec: str, *, checkpoint: str | Path | None = None, weights: bool = True, device: str | torch.device = "cpu"
) -> Backbone:
    """Load a backbone as :func:`load` does, without the checks.

    Raises:
        UserError: as :func:`load`, except for the checks.
    """
    if checkpoint is not None and not weights:
        raise UserError("A checkpoint and random weights (weights=False) exclude each other: give one of the two.")
    path = Path(checkpoint).expanduser() if checkpoint is not None else None
    if path is not None and not path.exists():
        raise UserError(f"There is no checkpoint {str(checkpoint)!r}. Give the path of a local file.")
    prefix, colon, identifier = spec.partition(":")
    if not colon:
        source = _source(spec)
        with calling(BACKBONES, spec):
            return _checked(spec, source.load(checkpoint=path, weights=weights, device=device))
    if prefix not in PREFIXES or not identifier:
        raise UserError(
            f"{spec!r} is no backbone: write a registered name or prefix:identifier with a prefix of "
            f"{', '.join(PREFIXES)}."
        )
    load = PREFIXES[prefix].load
    with calling_object("backbone prefix", prefix, load):
        return _checked(spec, resolve(load)(Request(spec, identifier, path, weights, device)))


def _checked(spec: str, backbone: Any) -> Backbone:
    """Return what a plugin has built, if it is a backbone."""
    from harness.backbones.base import Backbone

    if not isinstance(backbone, Backbone):
        raise UserError(
            f"The backbone {spec!r} builds a {type(backbone).__name__}; its `build` must return a Backbone."
        )
    return backbone


def name_of(spec: str) -> str:
    """Return the name of a spec's backbone in results: the spec without paths of this machine. Nothing is loaded."""
    prefix, identifier = _prefix_of(spec)
    if prefix is None or prefix.named is None:
        return spec
    name: str = resolve(prefix.named)(identifier)
    return name


def built_from(spec: str) -> str | None:
    """Return the registered backbone that the model of a spec is built from.

    The result is None if the model's weights are drawn, or if the model is loaded by itself.
    """
    prefix, identifier = _prefix_of(spec)
    if prefix is None or prefix.built_from is None:
        return None
    backbone: str | None = resolve(prefix.built_from)(identifier)
    return backbone


def _prefix_of(spec: str) -> tuple[Prefix | None, str]:
    """Return the prefix of a spec, None if it has none, and its identifier."""
    name, _, identifier = spec.partition(":")
    return PREFIXES.get(name) if identifier else None, identifier


def _source(name: str) -> Source:
    source = BACKBONES.get(name)
    if not isinstance(source, Source):
        raise UserError(f"The backbone {name!r} was registered as a {type(source).__name__}: register a Source.")
    return source
