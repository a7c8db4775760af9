"""Layers whose concepts are known: ``planted:NAME`` (see ``docs/validity.md``)."""

from __future__ import annotations

from harness.backbones import Prefix, register_prefix


def _built_from(identifier: str) -> str | None:
    from harness.planted.backbone import built_from

    return built_from(identifier)


register_prefix("planted", Prefix("harness.planted.backbone:load", _built_from, title="a layer with known parts"))
