"""Images read: one by one into RGB, and in batches that leave out what is broken."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import make_folder, to_tensor
from PIL import Image

from harness import datasets
from harness.backbones.preprocessing import IMAGENET_224
from harness.datasets import base, loading
from harness.datasets.base import ImageRecord, ImageSet
from methods.errors import UserError

# --- reading one image ----------------------------------------------------------------------------------------------


def one_image(tmp_path: Path, name: str) -> ImageSet:
    return ImageSet("one", (ImageRecord(name, tmp_path / name, None),), ())


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (30, 10))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "x.jpg", exif=exif)
    assert one_image(tmp_path, "x.jpg").open(0).size == (10, 30)


def test_transparency_becomes_white_and_sixteen_bits_are_scaled(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert one_image(tmp_path, "clear.png").open(0).getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(np.full((4, 4), 128 * 256, np.uint16)).save(tmp_path / "grey.png")
    grey = one_image(tmp_path, "grey.png").open(0)
    assert grey.mode == "RGB" and grey.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize(("value", "dtype"), [(0.5, np.float32), (200, np.int32), (10**6, np.int32)])
def test_pixels_that_say_not_what_is_white_are_no_black_picture(tmp_path, value, dtype):
    Image.fromarray(np.full((4, 4), value, dtype)).save(tmp_path / "x.tif")
    with pytest.raises(base.BrokenImageError, match="32-bit numbers"):
        one_image(tmp_path, "x.tif").open(0)
    Image.fromarray(np.full((4, 4), 128 * 256, np.int32)).save(tmp_path / "grey.tif")
    assert one_image(tmp_path, "grey.tif").open(0).getpixel((0, 0)) == (128, 128, 128)


def test_palette_and_grey_become_rgb(tmp_path):
    Image.new("P", (4, 4)).save(tmp_path / "p.gif")
    Image.new("L", (4, 4), 7).save(tmp_path / "l.png")
    assert one_image(tmp_path, "p.gif").open(0).mode == "RGB"
    assert one_image(tmp_path, "l.png").open(0).getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no image format"),
        (b"not an image", "no image format"),
        (b"\x89PNG\r\n\x1a\n", ""),
        (b"P6 0 5 255\n", "no image format"),  # five rows of no pixels
        (None, "No such file"),
    ],
)
def test_broken_images_say_why(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(datasets.BrokenImageError) as caught:
        one_image(tmp_path, "x.png").open(0)
    assert caught.value.name == "x.png" and caught.value.reason
    assert reason in caught.value.reason and str(tmp_path) not in str(caught.value)


def test_a_truncated_photo_is_broken(tmp_path):
    (tmp_path / "x.jpg").write_bytes(datasets.load("photos").records[0].path.read_bytes()[:3000])
    with pytest.raises(datasets.BrokenImageError):
        one_image(tmp_path, "x.jpg").open(0)


# --- batches --------------------------------------------------------------------------------------------------------


def test_batches_come_in_order_and_skip_what_is_broken(tmp_path):
    root = make_folder(tmp_path, {"cat": 9})
    (root / "cat" / "0.png").write_bytes(b"")
    (root / "cat" / "5.png").write_bytes(b"broken")
    images = datasets.load(f"folder:{root}")
    report = datasets.BrokenReport()
    got = list(datasets.batches(images, to_tensor, batch_size=3, workers=3, report=report))
    assert [batch.index.tolist() for batch in got] == [[1, 2, 3], [4, 6, 7], [8]]
    assert got[0].index.dtype == torch.int64 and got[0].images.shape == (3, 3, 2, 2)
    assert all(torch.equal(batch.images[:, 0, 0, 0].long(), batch.index) for batch in got)
    assert list(report) == ["cat/0.png", "cat/5.png"] and len(report) == 2
    list(datasets.batches(images, to_tensor, batch_size=3, report=report))
    assert len(report) == 2  # met twice, counted once
    assert report.summary() == "2 images skipped: cat/0.png (no image format is recognised in it) and 1 more."
    assert datasets.BrokenReport().summary() == ""


@given(n=st.integers(0, 30), batch_size=st.integers(1, 12), workers=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_every_image_comes_once_whatever_the_sizes(n, batch_size, workers):
    photo = datasets.load("photos").subset(range(n))
    shrunk = datasets.batches(photo, to_tensor, batch_size=batch_size, workers=workers, report=datasets.BrokenReport())
    sizes = []
    seen = []
    for batch in shrunk:
        sizes.append(len(batch.index))
        seen.extend(batch.index.tolist())
    assert seen == list(range(n)) and all(size == batch_size for size in sizes[:-1])


def test_prefetch_is_bounded():
    images = datasets.load("photos")
    lock, decoded = threading.Lock(), itertools.count(1)
    most = 0

    def counting(image: Image.Image, index: int) -> torch.Tensor:
        nonlocal most
        with lock:
            most = next(decoded)
        return torch.zeros(3, 1, 1)

    stream = datasets.batches(images, counting, batch_size=4, workers=2, report=datasets.BrokenReport())
    next(stream)
    time.sleep(0.2)
    assert most <= 4 + 4 + 2 * 2  # one batch handed out, at most batch_size + 2 * workers ahead
    stream.close()
    before = most
    time.sleep(0.1)
    assert most == before and not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_a_transforms_own_error_is_not_taken_for_a_broken_image():
    def fails(image: Image.Image, index: int) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(datasets.batches(datasets.load("photos"), fails, batch_size=2, report=datasets.BrokenReport()))


def test_nothing_readable_is_an_error(tmp_path):
    make_folder(tmp_path, {"cat": 1})
    (tmp_path / "cat" / "0.png").write_bytes(b"")
    images = datasets.load(f"folder:{tmp_path}")
    with pytest.raises(UserError, match="None of the 1 images"):
        list(datasets.batches(images, to_tensor, batch_size=2, report=datasets.BrokenReport()))
    with pytest.raises(UserError, match="at least 1"):
        datasets.batches(images, to_tensor, batch_size=0, report=datasets.BrokenReport())


@pytest.mark.parametrize(
    ("cores", "torch_threads", "memory_gib", "threads"),
    [
        (16, 16, 64, 16),
        (16, 8, 64, 16),  # torch counts physical cores
        (16, 4, 64, 4),  # --threads 4, or one of four workers
        (16, 1, 64, 2),
        (1, 1, 64, 1),
        (64, 64, 8, 8),  # a GiB per thread
        (4, 4, 0.5, 1),
        (4, 4, None, 4),
    ],
)
def test_decoding_threads_follow_the_cores(monkeypatch, cores, torch_threads, memory_gib, threads):
    memory = None if memory_gib is None else int(memory_gib * 2**30)
    monkeypatch.setattr(loading, "core_count", lambda: cores)
    monkeypatch.setattr(loading, "memory_of", lambda device: memory)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_threads)
    assert loading.decoding_threads() == threads


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    images = datasets.load("photos:20")
    used = []

    class Pool(loading.ThreadPoolExecutor):
        def __init__(self, workers, **options):
            used.append(workers)
            super().__init__(workers, **options)

    monkeypatch.setattr(loading, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(loading, "decoding_threads", lambda: 7)

    def decoded(workers):
        stream = datasets.batches(
            images, lambda image, _: IMAGENET_224.center(image), batch_size=6, workers=workers,
            report=datasets.BrokenReport(),
        )  # fmt: skip
        return [torch.cat(parts) for parts in zip(*stream, strict=True)]

    results = [decoded(workers) for workers in (1, 3, None)]
    assert used == [1, 3, 7]
    assert all(map(torch.equal, results[0], results[1])) and all(map(torch.equal, results[0], results[2]))
