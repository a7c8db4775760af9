"""Codes of altered images: those of a network that is given the altered pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.activations.forward import Passes
from harness.alterations import Alteration
from harness.cells import altered_codes
from harness.cells.altered_codes import AlteredCodes
from harness.cells.method_output import MethodCalls
from harness.check.world import small_world
from methods.base import no_progress


class Unchanged(Alteration):
    id = "unchanged"
    title = "no change"

    def apply(self, pixels, generator):
        return pixels


class Negative(Alteration):
    id = "negative"
    title = "negative"

    def apply(self, pixels, generator):
        return 255 - pixels


@pytest.fixture(scope="module")
def world():
    with small_world() as made:
        yield made


def codes(world, name="pca"):
    return AlteredCodes(MethodCalls(world.fitted[name], world.baseline.passes, []), world.baseline, no_progress)


def expected(world, split, change):
    """Return the largest and mean codes of a direct pass over the altered crops."""
    images = world.baseline.images if split == "evaluation" else world.baseline.probing.images
    backbone = world.baseline.passes.backbone
    pixels = [change(backbone.preprocessing.center_pixels(images.open(index))) for index in range(len(images))]
    batch = torch.stack([backbone.preprocessing.normalised(each) for each in pixels])
    captured = world.site.capture(world.baseline.passes.network, batch)
    made = world.fitted["pca"].encode(captured.a.flatten(0, 1)).unflatten(0, captured.a.shape[:2])
    return made.amax(1), captured.a.amax(1)


@pytest.mark.parametrize("split", ["probing", "evaluation"])
@pytest.mark.parametrize(("alteration", "change"), [(Unchanged, lambda x: x), (Negative, lambda x: 255 - x)])
def test_codes_are_those_of_the_altered_pixels(world, split, alteration, change):
    made = codes(world)(alteration(), split)
    of_units, of_layer = expected(world, split, change)
    torch.testing.assert_close(made.codes, of_units[made.image], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.layer, of_layer[made.image], rtol=1e-4, atol=1e-5)
    assert made.n_images == len(of_units)


def test_a_second_method_starts_from_stored_states_which_belong_to_one_alteration(world, monkeypatch):
    first = codes(world)(Negative(2), "evaluation")
    monkeypatch.setattr(Passes, "_batches", None)  # would decode the images again
    again = codes(world)(Negative(2), "evaluation")
    assert torch.equal(first.codes, again.codes)
    with pytest.raises(TypeError):
        codes(world)(Negative(3), "evaluation")


def test_of_many_images_a_sample_keeps_its_numbers_in_the_split(world, monkeypatch):
    every = codes(world)(Negative(), "evaluation")
    monkeypatch.setattr(altered_codes, "MOST_ALTERED", 7)
    some = codes(world)(Negative(), "evaluation")
    assert len(some.image) == 7
    rows = np.searchsorted(every.image.numpy(), some.image.numpy())
    assert torch.equal(every.labels[rows], some.labels)
    torch.testing.assert_close(every.codes[rows], some.codes, rtol=1e-4, atol=1e-5)
