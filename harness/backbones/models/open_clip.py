"""Image towers of open_clip: ``open_clip:ARCH/TAG`` (see ``docs/backbones.md``)."""

from __future__ import annotations

from harness.backbones import Prefix, register_prefix

register_prefix(
    "open_clip",
    Prefix(
        "harness.backbones.sources.open_clip:load",
        title="ARCH/TAG: the image tower of any model of open_clip, with its text tower",
        requires=(("open_clip", "open_clip_torch"),),
        cached="harness.backbones.sources.open_clip_record:in_cache",
    ),
)
