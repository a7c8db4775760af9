"""Centre crops on disk: the same tensors to the bit, one decoding per image, and no trust in a damaged file."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import make_folder
from paths import ROOT
from PIL import Image
from torch import Tensor

from harness import datasets
from harness.activations import center_crops
from harness.activations.center_crops import CropFolder, center_batches, file_size
from harness.backbones.preprocessing import Preprocessing
from harness.datasets.base import BrokenImageError, ImageSet
from harness.datasets.loading import BrokenReport
from methods.errors import UserError

SMALL = Preprocessing(size=24, resize=28, interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of times that each image is opened."""
    counts: Counter[str] = Counter()
    healthy = ImageSet.open

    def counting(self: ImageSet, index: int) -> Image.Image:
        counts[self.records[index].name] += 1
        return healthy(self, index)

    monkeypatch.setattr(ImageSet, "open", counting)
    return counts


@pytest.fixture
def images() -> ImageSet:
    return datasets.load("photos:20")


def read(
    images: ImageSet, crops: CropFolder | None, preprocessing: Preprocessing = SMALL, **options: Any
) -> tuple[list[int], Tensor, BrokenReport]:
    report = BrokenReport()
    read = list(center_batches(images, preprocessing, batch_size=6, report=report, crops=crops, **options))
    return torch.cat([batch.index for batch in read]).tolist(), torch.cat([batch.images for batch in read]), report


def files(folder: Path) -> list[Path]:
    return sorted((folder / "crops").glob("*.u8"))


@pytest.mark.parametrize("fit", ["crop", "squash", "squash_crop", "border"])
def test_crops_read_again_are_those_decoded_to_the_bit(
    images: ImageSet, opened: Counter[str], tmp_path: Path, fit: str
) -> None:
    preprocessing = dataclasses.replace(SMALL, fit=fit)
    expected = torch.stack([preprocessing.center(images.open(index)) for index in range(20)])
    opened.clear()
    for _ in range(3):
        index, pixels, report = read(images, CropFolder.of(tmp_path), preprocessing)
        assert index == list(range(20)) and torch.equal(pixels, expected) and not report
    assert set(opened.values()) == {1} and len(opened) == 20
    [file] = files(tmp_path)
    assert file.stat().st_size == file_size(20, preprocessing) == 20 * (3 * 24 * 24 + 8) + 8


def test_images_of_16_bits_and_floats(tmp_path: Path, opened: Counter[str]) -> None:
    folder = tmp_path / "images" / "class"
    folder.mkdir(parents=True)
    levels = np.linspace(0, 4095, 40 * 40).reshape(40, 40)
    Image.fromarray(levels.astype(np.uint16)).save(folder / "deep.png")
    Image.fromarray(levels.astype(np.float32)).save(folder / "float.tif")
    Image.fromarray((levels / 16).astype(np.uint8)).save(folder / "plain.png")
    images = datasets.load(f"folder:{tmp_path / 'images'}")
    expected = read(images, None)
    for _ in range(2):
        index, pixels, report = read(images, CropFolder.of(tmp_path))
        assert index == expected[0] == [0, 2] and torch.equal(pixels, expected[1]) and report == expected[2] != {}
    # The broken one is tried in each pass, as without the file.
    assert opened["class/deep.png"] == opened["class/plain.png"] == 2 and opened["class/float.tif"] == 3


def test_equal_geometries_share_a_file(images: ImageSet, opened: Counter[str], tmp_path: Path) -> None:
    other = dataclasses.replace(SMALL, mean=(0.0, 0.1, 0.2), std=(1.0, 0.5, 0.25))
    read(images, CropFolder.of(tmp_path))
    opened.clear()
    _, pixels, _ = read(images, CropFolder.of(tmp_path), other)
    assert not opened and len(files(tmp_path)) == 1
    assert torch.equal(pixels, read(images, None, other)[1])
    for change in ({"resize": 30}, {"interpolation": "bilinear"}, {"corner": "floor"}, {"fit": "squash"}):
        read(images, CropFolder.of(tmp_path), dataclasses.replace(SMALL, **change))
    read(images.subset(range(19)), CropFolder.of(tmp_path))
    assert len(files(tmp_path)) == 6


def test_some_positions(images: ImageSet, opened: Counter[str], tmp_path: Path) -> None:
    some = np.array([1, 7, 19])
    crops = CropFolder.of(tmp_path)
    index, before, _ = read(images, crops, positions=some)
    assert index == [1, 7, 19] and not files(tmp_path), "a few images are not worth a file"
    read(images, crops)
    opened.clear()
    index, after, _ = read(images, crops, positions=some)
    assert index == [1, 7, 19] and torch.equal(after, before) and not opened


def test_an_abandoned_pass_leaves_nothing(images: ImageSet, tmp_path: Path) -> None:
    stream = center_batches(images, SMALL, batch_size=3, report=BrokenReport(), crops=CropFolder.of(tmp_path))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert list((tmp_path / "crops").iterdir()) == []
    read(images, CropFolder.of(tmp_path))
    stream = center_batches(images, SMALL, batch_size=3, report=BrokenReport(), crops=CropFolder.of(tmp_path))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(files(tmp_path)) == 1


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["empty", "half", "longer", "table", "zeros", "pipe"])
def test_a_damaged_file_is_made_again(images: ImageSet, opened: Counter[str], tmp_path: Path, damage: str) -> None:
    crops = CropFolder.of(tmp_path)
    _, expected, _ = read(images, crops)
    [file] = files(tmp_path)
    intact = data = file.read_bytes()
    if damage == "pipe":
        file.unlink()
        os.mkfifo(file)
    else:
        changed = {
            "empty": b"",
            "half": data[: len(data) // 2],
            "longer": data + b"\0",
            "table": data[:-60] + bytes([data[-60] ^ 1]) + data[-59:],
            "zeros": bytes(len(data)),
        }
        file.write_bytes(changed[damage])
    opened.clear()
    assert torch.equal(read(images, crops)[1], expected)
    assert files(tmp_path) == [file] and file.read_bytes() == intact
    opened.clear()
    assert torch.equal(read(images, crops)[1], expected) and not opened


def test_a_damaged_row_is_decoded(images: ImageSet, opened: Counter[str], tmp_path: Path) -> None:
    crops = CropFolder.of(tmp_path)
    _, expected, _ = read(images, crops)
    [file] = files(tmp_path)
    intact = file.read_bytes()
    with file.open("r+b") as handle:
        handle.seek(5 * 3 * 24 * 24 + 100)
        handle.write(bytes([intact[5 * 3 * 24 * 24 + 100] ^ 16]))
    opened.clear()
    assert torch.equal(read(images, crops)[1], expected)
    assert opened == {images.records[5].name: 1} and not file.exists()
    assert torch.equal(read(images, crops)[1], expected) and file.read_bytes() == intact


def test_a_file_that_shrinks_while_it_is_read(images: ImageSet, tmp_path: Path) -> None:
    crops = CropFolder.of(tmp_path)
    _, expected, _ = read(images, crops)
    [file] = files(tmp_path)
    stream = center_batches(images, SMALL, batch_size=1, report=BrokenReport(), crops=crops)
    got = [next(stream).images]
    os.truncate(file, 0)
    assert torch.equal(torch.cat(got + [batch.images for batch in stream]), expected)


# --- images that cannot be read ---------------------------------------------------------------------------------------


def test_an_image_that_can_be_read_again_is_picked_up(
    images: ImageSet, opened: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops, expected = CropFolder.of(tmp_path), read(images, None)[1]
    counting, unlucky = ImageSet.open, images.records[4].name

    def flaky(self: ImageSet, index: int) -> Image.Image:
        if self.records[index].name == unlucky:
            raise BrokenImageError(unlucky, "Input/output error")
        return counting(self, index)

    monkeypatch.setattr(ImageSet, "open", flaky)
    for _ in range(2):
        index, pixels, report = read(images, crops)
        assert index == [*range(4), *range(5, 20)] and dict(report) == {unlucky: "Input/output error"}
        assert torch.equal(pixels, expected[index])
    monkeypatch.setattr(ImageSet, "open", counting)
    opened.clear()
    assert torch.equal(read(images, crops)[1], expected) and opened == {unlucky: 1}
    assert torch.equal(read(images, crops)[1], expected)
    opened.clear()
    assert torch.equal(read(images, crops)[1], expected) and not opened


def test_nothing_readable_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "images", {"cat": 2})
    for number in range(2):
        (root / "cat" / f"{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match="None of the 2 images"):
        read(datasets.load(f"folder:{root}"), CropFolder.of(tmp_path))
    assert not files(tmp_path)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_of_size_and_disk(
    images: ImageSet, opened: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read(images, None)[1]
    with monkeypatch.context() as patch:
        patch.setattr(center_crops, "SIZE_LIMIT", file_size(20, SMALL) - 1)
        assert torch.equal(read(images, CropFolder.of(tmp_path))[1], expected)
    with pytest.warns(RuntimeWarning, match="20 images are decoded again in every pass: .* 33.9 KiB .*--cache"):
        assert torch.equal(read(images, CropFolder.of(tmp_path, 1 << 60))[1], expected)
    assert not files(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # given once
        assert torch.equal(read(images, CropFolder.of(tmp_path, 1 << 60))[1], expected)


def test_a_folder_that_cannot_be_written(images: ImageSet, opened: Counter[str], tmp_path: Path) -> None:
    (tmp_path / "crops").write_text("a file")
    expected = read(images, None)[1]
    with pytest.warns(RuntimeWarning, match="no file can be written .*--cache"):
        assert torch.equal(read(images, CropFolder.of(tmp_path))[1], expected)


def test_a_disk_that_fills_up(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(images, None)[1]

    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert torch.equal(read(images, CropFolder.of(tmp_path))[1], expected)
    assert list((tmp_path / "crops").iterdir()) == []


def test_a_preprocessing_of_another_class_is_decoded(images: ImageSet, opened: Counter[str], tmp_path: Path) -> None:
    class Inverted(Preprocessing):
        def center(self, image: Image.Image) -> Tensor:
            return -super().center(image)

    inverted = Inverted(**dataclasses.asdict(SMALL))
    for _ in range(2):
        assert torch.equal(read(images, CropFolder.of(tmp_path), inverted)[1], -read(images, None)[1])
    assert not files(tmp_path)


def test_two_processes_at_once(images: ImageSet, tmp_path: Path) -> None:
    code = """
        import sys, torch
        from pathlib import Path
        from test_center_crops import SMALL, read
        from harness import datasets
        from harness.activations.center_crops import CropFolder
        images = datasets.load("photos:20")
        expected = read(images, None)[1]
        print("ready", flush=True)
        sys.stdin.readline()
        assert all(torch.equal(read(images, CropFolder.of(Path(sys.argv[1])))[1], expected) for _ in range(8))
    """
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)])
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in started if process.stdout] == ["ready\n"] * 2
    for process in started:
        process.communicate("go\n", timeout=60)
    assert [process.returncode for process in started] == [0, 0]
    assert [path.suffix for path in (tmp_path / "crops").iterdir()] == [".u8"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(read(images, CropFolder.of(tmp_path))[1], read(images, None)[1])
