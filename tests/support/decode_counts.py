"""Number of times that each image of a set is decoded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from harness.datasets.base import ImageSet


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return a counter of the images, by name, that are opened from now on."""
    counts: Counter[str] = Counter()
    uncounted = ImageSet.open

    def counting(self: ImageSet, index: int) -> Any:
        counts[self.records[index].name] += 1
        return uncounted(self, index)

    monkeypatch.setattr(ImageSet, "open", counting)
    return counts
