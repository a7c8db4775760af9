"""Layers with known concepts: ``planted:NAME`` (see ``docs/validity.md``)."""

from __future__ import annotations

from harness.backbones import Prefix, register_prefix

register_prefix(
    "planted",
    Prefix("harness.planted.backbone:load", "harness.planted.backbone:built_from", title="a layer with known parts"),
)
