"""Images of synthetic worlds with known concepts: ``planted:NAME``."""

from __future__ import annotations

from harness.datasets import DATASETS

DATASETS.add(
    "planted", "harness.planted.images:load", description="images of a world with known concepts, planted:NAME"
)
