"""Look-up of vision-language models on this machine. No torch is imported."""

from __future__ import annotations

from harness.backbones.sources.hub import in_huggingface_cache
from harness.backbones.sources.huggingface_folders import folder_of

#: Files of weights: models of more than a few gigabytes are cut into several, which the index names.
FILES = ("model.safetensors", "model.safetensors.index.json")


def in_cache(identifier: str) -> bool:
    """Return True if ``vlm:identifier`` is a folder of this machine, or in its cache of the Hugging Face hub.

    Raises:
        UserError: if it is a path without a folder, or no repository can have this name.
    """
    return folder_of(identifier, "vlm") is not None or in_huggingface_cache(identifier, FILES)
