"""Files that are no images and may never end: pipes, devices, links in circles, sizes that no image has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_folders import make_folder, names

from harness import datasets
from harness.datasets import files
from harness.datasets.base import BrokenImageError
from harness.datasets.folders.tree import Folder
from harness.errors import UserError


@pytest.mark.timeout(20)
@pytest.mark.parametrize("special", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_broken_and_not_waited_for(tmp_path: Path, special: str) -> None:
    root = make_folder(tmp_path / "set", {"cat": 3, "dog": 3})
    plain = datasets.load(f"folder:{root}").fingerprint
    odd = root / "cat" / "odd.png"
    {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": Path.mkdir}[special](odd)
    images = datasets.load(f"folder:{root}")
    if special == "folder":
        assert names(images) == names(datasets.load(f"folder:{root}")) and images.fingerprint == plain
        return
    assert images.contents.unreadable == {"cat/odd.png": "not a regular file"}
    with pytest.raises(BrokenImageError, match="not a regular file"):
        images.open(names(images).index("cat/odd.png"))


def test_a_file_of_any_size_is_not_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(files.LARGEST + 1)
    with pytest.raises(OSError, match="at most 1 GiB are read"):
        files.read(huge)
    with files.open_regular(huge) as opened:
        assert opened.read(4) == bytes(4)
    small = tmp_path / "small.png"
    small.write_bytes(b"1234")
    assert files.read(small, 4) == b"1234" and files.regular_size(small) == 4


@pytest.mark.timeout(20)
def test_annotations_that_are_a_pipe_are_no_annotations(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"train/cat": 2, "train/dog": 2, "val/images": 2})
    os.mkfifo(root / "val" / "val_annotations.txt")
    with pytest.raises(UserError, match=r"val/ in .* holds images, but no class folders"):
        datasets.load(f"folder:{root}")


@pytest.mark.timeout(20)
def test_links_between_all_folders_are_followed_once_each(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(12)]
    for name in names:
        (tmp_path / name).mkdir()
    for name in names:
        for other in names:
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other, target_is_directory=True)
    assert not Folder(tmp_path).holds_images
    make_folder(tmp_path, {"f7": 1})
    assert all(Folder(tmp_path / name).holds_images for name in names)


def test_deeply_nested_folders_are_read_or_refused(tmp_path: Path) -> None:
    inner = tmp_path / "set" / "/".join(["images"] * 400)
    inner.mkdir(parents=True)
    make_folder(inner, {"cat": 1, "dog": 1})
    try:
        assert len(datasets.load(f"folder:{tmp_path / 'set'}")) == 2
    except UserError as error:
        assert "one sub-folder with images" in str(error) or "nested too deeply" in str(error)
