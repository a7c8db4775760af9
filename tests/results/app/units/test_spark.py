"""Small histograms: one bar per half octave, the strongest images on the right."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("streamlit")

from results.app.units.spark import N_BINS, spark


def _filled(peaks: list[int]) -> list[int]:
    """Filled pixels above the base line in each bin, from the left."""
    drawn = np.asarray(Image.open(io.BytesIO(spark(np.array(peaks)))))[:-4, :, 3] > 0
    return [int(part.sum()) for part in np.array_split(drawn, N_BINS, axis=1)]


def test_the_strongest_images_are_on_the_right_and_one_image_is_seen() -> None:
    filled = _filled([1, 0, 1000])
    assert filled[-1] > 0 and filled[-2] == 0 and filled[-3] > 20 * filled[-1]
    assert not any(filled[:-3])


@pytest.mark.parametrize("peaks", [[], [0, 0], [-5, 2], [2**31 - 1] * 40])
def test_any_counts_are_drawn(peaks: list[int]) -> None:
    assert len(_filled(peaks)) == N_BINS
