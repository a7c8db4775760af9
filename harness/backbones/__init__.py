"""Backbones by spec: registered ones with their own weights, and any model of timm, Hugging Face or torch.hub."""

from harness.backbones.registry import (
    BACKBONES,
    PREFIXES,
    BackboneRow,
    Prefix,
    build,
    built_from,
    describe,
    load,
    name_of,
    names,
    register,
    register_prefix,
)
from harness.backbones.sources.base import Source

__all__ = [
    "BACKBONES",
    "PREFIXES",
    "BackboneRow",
    "Prefix",
    "Source",
    "build",
    "built_from",
    "describe",
    "load",
    "name_of",
    "names",
    "register",
    "register_prefix",
]
