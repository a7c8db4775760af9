"""The transforms: against torchvision's, at closed-form points, and depending on nothing but the generator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from torchvision import transforms

from harness.backbones import preprocessing
from harness.backbones.preprocessing import Preprocessing, _random_box
from harness.datasets import crop_generator, load
from methods.errors import UserError

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PLAIN = Preprocessing(size=32, resize=40, interpolation="bicubic", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


STATISTICS = st.tuples(*3 * [st.floats(0.0, 1.0, width=32)]), st.tuples(*3 * [st.floats(2**-8, 1.0, width=32)])


@given(mean=STATISTICS[0], std=STATISTICS[1])
@settings(max_examples=20, deadline=None)
def test_normalisation_is_that_of_torch_to_the_bit(mean, std):
    levels = torch.arange(256, dtype=torch.uint8).expand(3, 256).reshape(3, 16, 16)
    expected = levels.float().div(255.0).sub(torch.tensor(mean)[:, None, None]).div(torch.tensor(std)[:, None, None])
    transform = dataclasses.replace(PLAIN, mean=mean, std=std)
    assert torch.equal(transform.normalised(levels.permute(1, 2, 0).numpy()), expected)


@pytest.mark.parametrize("fit", ["crop", "squash", "squash_crop", "border"])
@pytest.mark.parametrize("size", [(90, 60), (40, 40), (20, 900), (17, 31)])
def test_the_centre_crop_is_its_8_bit_pixels_normalised(fit, size):
    transform = dataclasses.replace(PLAIN, fit=fit, **IMAGENET)
    pixels = transform.center_pixels(noise(*size))
    assert pixels.dtype == np.uint8 and pixels.shape == (32, 32, 3)
    assert torch.equal(transform.normalised(pixels), transform.center(noise(*size)))


def test_the_geometry_is_what_the_pixels_depend_on():
    other = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    for fit in ("crop", "squash", "squash_crop"):
        transform = dataclasses.replace(PLAIN, fit=fit)
        assert transform.geometry() == dataclasses.replace(transform, **other).geometry()
    border = dataclasses.replace(PLAIN, fit="border")
    assert border.geometry() != dataclasses.replace(border, **other).geometry()  # the border has the colour of the mean
    changes = [{"size": 31}, {"resize": 41}, {"interpolation": "box"}, {"fit": "squash"}, {"corner": "floor"}]
    texts = {str(dataclasses.replace(PLAIN, **change).geometry()) for change in [{}, *changes]}
    assert len(texts) == 6


def noise(width: int, height: int) -> Image.Image:
    pixels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (256, 256), (40, 41), (33, 97), (700, 231)])
def test_center_is_torchvisions_resize_and_crop(size, interpolation):
    mode = transforms.InterpolationMode(interpolation)
    reference = transforms.Compose([
        transforms.Resize(236, interpolation=mode), transforms.CenterCrop(224), transforms.ToTensor(),
        transforms.Normalize(IMAGENET["mean"], IMAGENET["std"]),
    ])  # fmt: skip
    image = noise(*size)
    ours = Preprocessing(size=224, resize=236, interpolation=interpolation, **IMAGENET).center(image)
    assert ours.shape == (3, 224, 224) and ours.dtype == torch.float32
    torch.testing.assert_close(ours, reference(image), rtol=0, atol=1e-6)


def test_center_takes_the_middle():
    image = Image.new("RGB", (120, 40))
    image.paste((255, 0, 0), (44, 4, 76, 36))
    inside = PLAIN.center(image)
    assert torch.equal(inside[0], torch.ones(32, 32)) and not inside[1:].any()


def _whole(preprocessing, image, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("harness.backbones.preprocessing._ELONGATED", 10**9)
        return preprocessing.center(image)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("size", [(3000, 5), (5, 3000), (2400, 60), (60, 2400), (1, 900), (900, 1), (330, 10)])
def test_an_elongated_image_is_resized_where_the_crop_lies(size, interpolation, monkeypatch):
    """As a whole it would be the same picture, but for the rounding between the two directions of the filter."""
    preprocessing = Preprocessing(size=32, resize=40, interpolation=interpolation, mean=(0.0,) * 3, std=(1.0,) * 3)
    for image, largest in ((noise(*size), 30), (noise(*size).filter(ImageFilter.GaussianBlur(2)), 2)):
        levels = (preprocessing.center(image) - _whole(preprocessing, image, monkeypatch)).abs() * 255
        assert levels.max() <= largest + 0.01 and levels.mean() < 0.5
        assert levels.mean() < 0.05 * preprocessing.center(image).std() * 255


def test_no_photograph_is_taken_for_elongated(monkeypatch):
    images = load("photos")
    monkeypatch.setattr(Preprocessing, "_window", None)
    for index in range(0, len(images), 10):
        PLAIN.center(images.open(index))
    with pytest.raises(TypeError):
        PLAIN.center(noise(330, 10))
    assert PLAIN.center(noise(320, 10)).shape == (3, 32, 32)


def test_a_line_of_pixels_takes_no_memory():
    """As a whole it would be 518 x 51 800 000 px."""
    large = dataclasses.replace(PLAIN, size=518, resize=518)
    for size in ((100_000, 1), (1, 100_000)):
        line = Image.new("RGB", size, (255, 0, 51))
        assert large.center(line).flatten(1).unique(dim=1).flatten().tolist() == pytest.approx([1.0, 0.0, 0.2])


def test_squash_keeps_the_whole_image():
    squash = dataclasses.replace(PLAIN, fit="squash")
    image = Image.new("RGB", (64, 320))
    image.paste((255, 255, 255), (0, 0, 64, 160))
    row_means = squash.center(image)[0].mean(1)
    assert row_means[:14].min() > 0.95 and row_means[18:].max() < 0.05


def test_squash_crop_cuts_a_margin_of_the_whole_image():
    """The frame of a 400 x 300 px image is kept as far as the crop reaches: 2 of 40 px lie outside on each side."""
    image = Image.new("RGB", (400, 300), (255, 0, 0))
    image.paste((0, 0, 255), (40, 30, 360, 270))
    red = dataclasses.replace(PLAIN, size=36, fit="squash_crop").center(image)[0]
    # A frame of a tenth is 4 px of 40, of which 2 px are left.
    assert red[:, 0].min() > 0.9 and red[18, :4].tolist() == pytest.approx([1, 1, 0, 0], abs=0.1)
    assert red[:, 18][[0, 1, 2, 33, 34, 35]].tolist() == pytest.approx([1, 1, 0, 0, 1, 1], abs=0.1)


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (64, 64), (10, 10), (3000, 3), (3, 3000), (33, 32)])
@pytest.mark.parametrize("resize", [32, 40])
def test_border_pads_with_the_mean(size, resize):
    preprocessing = Preprocessing(size=32, resize=resize, interpolation="bicubic", fit="border", **IMAGENET)
    tensor = preprocessing.center(Image.new("RGB", size, (255, 255, 255)))
    shape = [max(1, round(side * resize / max(size))) for side in size]
    width, height = (min(side, 32) for side in shape)
    white = (tensor > 1).all(0)
    assert white.sum() == width * height and white.any(0).sum() == width and white.any(1).sum() == height
    assert (tensor[:, ~white].abs() < 0.01).all()


@pytest.mark.parametrize("change", [{"fit": "squash_crop"}, {"fit": "border"}, {"interpolation": "lanczos"}])
def test_random_crops_do_not_depend_on_the_fit(change):
    photo = noise(120, 90)
    other = dataclasses.replace(PLAIN, **change)
    first, second = (each.random_resized_crop(photo, torch.Generator().manual_seed(1)) for each in (PLAIN, other))
    assert first.shape == second.shape and torch.equal(first, second) == ("fit" in change)


def test_describe_names_every_step():
    imagenet = Preprocessing(size=224, resize=256, interpolation="bicubic", **IMAGENET)
    assert imagenet.describe() == (
        "224 px centre crop after resizing the shorter side to 256 px, bicubic, ImageNet mean and std"
    )
    half = dataclasses.replace(imagenet, mean=(0.5,) * 3, std=(0.5,) * 3, fit="squash", interpolation="bilinear")
    assert half.describe() == (
        "whole image resized to 224 x 224 px without keeping its aspect ratio, bilinear, mean 0.5 and std 0.5"
    )
    assert "padded to 256 px, 224 px centre crop" in dataclasses.replace(imagenet, fit="border").describe()
    assert "the whole image to 256 x 256 px" in dataclasses.replace(imagenet, fit="squash_crop").describe()
    assert "mean (0.1, 0.2, 0.3)" in dataclasses.replace(imagenet, mean=(0.1, 0.2, 0.3)).describe()


def test_other_modes_are_brought_to_rgb():
    assert PLAIN.center(Image.new("L", (50, 50), 255)).min() == 1.0
    assert PLAIN.random_resized_crop(Image.new("P", (50, 50)), torch.Generator()).shape == (3, 32, 32)


def test_crop_depends_on_its_generator_alone():
    photo = load("photos").open(3)
    first = PLAIN.random_resized_crop(photo, crop_generator(1, 3, 0))
    torch.manual_seed(99)
    assert torch.equal(first, PLAIN.random_resized_crop(photo, crop_generator(1, 3, 0)))
    for other in ((2, 3, 0), (1, 4, 0), (1, 3, 1)):
        assert not torch.equal(first, PLAIN.random_resized_crop(photo, crop_generator(*other)))


def test_crop_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    PLAIN.random_resized_crop(noise(50, 60), torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


def test_crop_seeds_must_not_change():
    draws = [torch.rand(1, generator=crop_generator(0, index, 0)).item() for index in (0, 1)]
    assert draws == pytest.approx([0.09790152, 0.12137234], abs=1e-7)


@given(
    width=st.integers(1, 500), height=st.integers(1, 500), seed=st.integers(0, 2**32),
    low=st.floats(0.01, 1.0), ratio=st.floats(0.3, 1.0),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_box_lies_inside_the_image(width, height, seed, low, ratio):
    box = _random_box(width, height, torch.Generator().manual_seed(seed), (low, 1.0), (ratio, 1 / ratio))
    left, top, right, bottom = box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_box_areas_and_ratios_are_distributed_as_asked():
    generator = torch.Generator().manual_seed(0)
    boxes = [_random_box(1000, 1000, generator, (0.25, 0.5), (3 / 4, 4 / 3)) for _ in range(2000)]
    areas = torch.tensor([(right - left) * (bottom - top) / 1e6 for left, top, right, bottom in boxes])
    ratios = torch.tensor([(right - left) / (bottom - top) for left, top, right, bottom in boxes]).log()
    assert areas.min() > 0.248 and areas.max() < 0.502
    assert areas.mean().item() == pytest.approx(0.375, abs=0.01)
    assert ratios.mean().item() == pytest.approx(0.0, abs=0.02)
    assert ratios.abs().max().exp().item() < 4 / 3 + 0.01


def test_full_scale_and_square_ratio_give_the_whole_square_image(monkeypatch):
    monkeypatch.setattr(preprocessing, "CROP_SCALE", (1.0, 1.0))
    monkeypatch.setattr(preprocessing, "CROP_RATIO", (1.0, 1.0))
    image = noise(64, 64)
    crop = PLAIN.random_resized_crop(image, torch.Generator().manual_seed(0))
    assert torch.equal(crop, dataclasses.replace(PLAIN, fit="squash").center(image))


def test_canonical_tells_transforms_apart_and_is_plain():
    assert PLAIN.canonical() == {
        "size": 32, "resize": 40, "interpolation": "bicubic", "mean": [0.0] * 3, "std": [1.0] * 3, "fit": "crop",
    }  # fmt: skip
    for change in ({"size": 31}, {"resize": 41}, {"interpolation": "bilinear"}, {"fit": "squash"}):
        assert dataclasses.replace(PLAIN, **change).canonical() != PLAIN.canonical()


@pytest.mark.parametrize(
    "change",
    [{"interpolation": "random"}, {"fit": "pad"}, {"resize": 31}, {"size": 0}, {"std": (1.0, 0.0, 1.0)}],
)
def test_what_cannot_be_is_refused(change):
    with pytest.raises(UserError):
        dataclasses.replace(PLAIN, **change)


@pytest.mark.parametrize(("corner", "first"), [("round", 2), ("floor", 1)])
def test_corner_of_a_crop_with_an_odd_margin(corner: str, first: int) -> None:
    """A margin of 3 px is split 2 + 1 by torchvision's rounding to even, and 1 + 2 by that of transformers."""
    columns = np.broadcast_to(np.arange(7, dtype=np.uint8)[None, :, None], (4, 7, 3))
    transform = Preprocessing(4, 4, "bilinear", (0.0,) * 3, (1.0,) * 3, corner=corner)
    made = transform.center(Image.fromarray(np.ascontiguousarray(columns))) * 255
    assert made[0, 0].round().tolist() == [first, first + 1, first + 2, first + 3]
    assert ("corner" in transform.canonical()) == (corner == "floor")
    with pytest.raises(UserError, match="corner 'ceil'"):
        Preprocessing(4, 4, "bilinear", (0.0,) * 3, (1.0,) * 3, corner="ceil")
