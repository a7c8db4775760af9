"""SigLIP2 vision tower of the paper."""

from __future__ import annotations

from functools import partial

from harness.backbones import register
from harness.backbones.sources.base import Source
from harness.backbones.sources.hub import in_huggingface_cache

register(
    Source(
        name="siglip2_base",
        title="SigLIP2-B/16",
        source="Hugging Face",
        license="Gemma terms",
        build="harness.backbones.sources.huggingface:load",
        identifier="google/siglip2-base-patch16-224",
        requires=(("transformers", "transformers"),),
        hub=True,
        cached=partial(in_huggingface_cache, "google/siglip2-base-patch16-224"),
    )
)
