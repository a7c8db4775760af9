"""The check against a model's own transform: every step that can differ is found and named."""

from __future__ import annotations

import re

import pytest
import torch
from torchvision import transforms

from harness.backbones.preprocessing import Preprocessing
from harness.backbones.preprocessing_check import framed_test_images, require_same_input
from methods.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OURS = Preprocessing(size=64, resize=72, interpolation="bicubic", mean=MEAN, std=STD)
BICUBIC, BILINEAR = transforms.InterpolationMode.BICUBIC, transforms.InterpolationMode.BILINEAR


def reference(*first, mean=MEAN, std=STD):
    return transforms.Compose([*first, transforms.ToTensor(), transforms.Normalize(mean, std)])


SAME = (transforms.Resize(72, BICUBIC), transforms.CenterCrop(64))


def test_equal_transforms_pass():
    require_same_input(OURS, reference(*SAME), spec="x", tolerance=1e-6)


def test_images_are_seeded_and_framed():
    for first, again in zip(framed_test_images(), framed_test_images(), strict=True):
        assert first.tobytes() == again.tobytes()
        assert first.getpixel((0, first.height // 2)) == first.getpixel((first.width - 1, 0)) == (230, 60, 20)
    landscape, portrait, small = framed_test_images()
    assert landscape.width > landscape.height and portrait.width < portrait.height and small.width < 100


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (reference(*SAME, mean=(0.5,) * 3), "Normalisation"),
        (reference(*SAME, std=(0.25,) * 3), "Normalisation"),
        (lambda image: reference(*SAME)(image).flip(0), "Normalisation"),
        (lambda image: reference(*SAME)(image) * 255, "Normalisation"),
        (reference(transforms.Resize(68, BICUBIC), transforms.CenterCrop(64)), "Resizing and cropping"),
        (reference(transforms.Resize((64, 64), BICUBIC)), "Resizing and cropping"),
        (reference(*SAME, transforms.Pad(8), transforms.CenterCrop(64)), None),
        (reference(transforms.Pad(16), *SAME), "Resizing and cropping"),
        (reference(transforms.Resize(72, BILINEAR), transforms.CenterCrop(64)), "Resampling"),
        (reference(*SAME, transforms.Grayscale(3)), "Normalisation"),
        (reference(*SAME, transforms.RandomHorizontalFlip(1.0)), "Resizing and cropping"),
        (reference(transforms.Resize(72, BICUBIC), transforms.CenterCrop(60)), "Input size"),
        (lambda image: reference(*SAME)(image) * float("nan"), "Normalisation"),
    ],
)
def test_every_step_that_differs_is_named(other, named):
    if named is None:
        return require_same_input(OURS, other, spec="x", tolerance=1e-6)
    with pytest.raises(UserError, match=f"'x' is not supported.* {named}: "):
        require_same_input(OURS, other, spec="x", tolerance=0.05)


def test_the_shown_region_is_measured():
    squash = reference(transforms.Resize((64, 64), BICUBIC))
    with pytest.raises(UserError) as caught:
        require_same_input(OURS, squash, spec="x", tolerance=1e-6)
    numbers = [float(number) for number in re.findall(r"-?[\d.]+(?= to| %)", str(caught.value))]
    # 641 x 427 px resized to 108 x 72 px: the middle 64 of 108 columns and of 72 rows.
    width, height = 100 * 64 / 108, 100 * 64 / 72
    crop = [50 - width / 2, 50 + width / 2, 50 - height / 2, 50 + height / 2]
    assert numbers == pytest.approx([0, 100, 0, 100, *crop], abs=0.5)


def test_a_failing_reference_is_one_sentence():
    def fails(image):
        raise KeyError("random")

    with pytest.raises(UserError, match="fails on an RGB image of 641 x 427 px"):
        require_same_input(OURS, fails, spec="x", tolerance=1e-6)


def test_the_comparison_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    require_same_input(OURS, reference(*SAME), spec="x", tolerance=1e-6)
    assert torch.equal(before, torch.get_rng_state())
