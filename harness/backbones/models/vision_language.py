"""Vision towers of vision-language models: ``vlm:OWNER/NAME`` or ``vlm:FOLDER`` (see ``docs/backbones.md``)."""

from __future__ import annotations

from harness.backbones import Prefix, register_prefix

register_prefix(
    "vlm",
    Prefix(
        "harness.backbones.sources.vision_language:load",
        named="harness.backbones.sources.huggingface_folders:vlm_name_of",
        title="the vision tower of a vision-language model of the Hugging Face hub, or of a folder",
        requires=(("transformers", "transformers"),),
        cached="harness.backbones.sources.vision_language_cache:in_cache",
    ),
)
