"""Contract of alterations: seeded by the image's name, checked, and part of what is cached."""

from __future__ import annotations

import numpy as np
import pytest

from harness.alterations import Alteration
from harness.errors import UserError


class Shuffled(Alteration):
    id = "shuffled"
    title = "shuffled pixels"

    def apply(self, pixels, generator):
        return generator.permutation(pixels.reshape(-1, 3)).reshape(pixels.shape)


class Wrong(Alteration):
    id = "wrong"
    title = "wrong type"

    def apply(self, pixels, generator):
        return pixels.astype(float)


PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def test_the_draw_depends_on_the_name_and_the_severity_alone():
    first = Shuffled(2).altered(PIXELS, "a.png")
    assert (first == Shuffled(2).altered(PIXELS, "a.png")).all()
    assert (first != Shuffled(2).altered(PIXELS, "b.png")).any()
    assert (first != Shuffled(3).altered(PIXELS, "a.png")).any()


@pytest.mark.parametrize("severity", [0, 6, 1.5, 2.0, True, "2", [1]])
def test_refuses_a_severity_that_does_not_exist(severity):
    with pytest.raises(UserError, match="severity of 'shuffled'"):
        Shuffled(severity)


def test_refuses_what_is_not_an_image():
    with pytest.raises(UserError, match=r"'wrong' returned float64 \(8, 8, 3\)"):
        Wrong().altered(PIXELS, "a.png")
