"""Identity of a large image set: not read again while no file has changed, and never wrong."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from image_folders import make_folder
from PIL import Image

from harness import datasets
from harness.datasets import contents, contents_cache
from harness.datasets.base import FileReader, ImageRecord, ImageSet
from harness.datasets.contents import Contents

OLD = time.time() - 3600


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the entries; every set counts as large, and times of change as those of modification.

    No test can set a time of change, and a file that was just made is not trusted.
    """
    stamp_of = contents_cache.Stamp.of

    def of(path: Path) -> contents_cache.Stamp:
        return stamp_of(path)._replace(changed=path.stat().st_mtime)

    monkeypatch.setattr(contents_cache.Stamp, "of", of)
    monkeypatch.setattr(contents_cache, "LEAST_IMAGES", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tmp_path / "user" / "harness" / "image_sets"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of times that each image's bytes are read."""
    counts: Counter[str] = Counter()
    read, head = FileReader.read, FileReader.head

    def counting(self: FileReader, record: ImageRecord) -> bytes:
        counts[record.name] += 1
        return read(self, record)

    def counting_head(self: FileReader, record: ImageRecord, count: int) -> bytes:
        counts[record.name] += 1
        return head(self, record, count)

    monkeypatch.setattr(FileReader, "read", counting)
    monkeypatch.setattr(FileReader, "head", counting_head)
    return counts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = make_folder(tmp_path / "images", {"cat": 3, "dog": 2})
    for file in folder.rglob("*.png"):
        os.utime(file, (OLD, OLD))
    return folder


def identity(root: Path) -> Contents:
    return datasets.load(f"folder:{root}").contents


def same(one: Contents, two: Contents) -> bool:
    return (one.fingerprint, one.unreadable) == (two.fingerprint, two.unreadable) and np.array_equal(one.keys, two.keys)


@pytest.mark.parametrize("limit", [1 << 31, 0], ids=["content", "sampled"])
def test_an_unchanged_set_is_not_read_again(
    root: Path, cache: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(contents, "WHOLE_CONTENT_LIMIT", limit)
    first = identity(root)
    assert set(reads.values()) == {1} and len(reads) == 5
    reads.clear()
    assert same(identity(root), first) and not reads
    [entry] = cache.iterdir()
    entry.unlink()
    assert same(identity(root), first) and len(reads) == 5
    # Subsets have entries of their own.
    images = datasets.load(f"folder:{root}").subset([0, 4])
    assert images.fingerprint != first.fingerprint and len(list(cache.iterdir())) == 2


def test_small_sets_have_no_entry(
    root: Path, cache: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents_cache, "LEAST_IMAGES", 6)
    identity(root), identity(root)
    assert set(reads.values()) == {2} and not cache.exists()
    monkeypatch.setattr(contents_cache, "LEAST_BYTES", 1)
    identity(root), identity(root)
    assert set(reads.values()) == {3}


@pytest.mark.parametrize("change", ["content", "touched", "replaced", "renamed", "gone", "label"])
def test_a_change_is_noticed(root: Path, cache: Path, reads: Counter[str], change: str) -> None:
    before = identity(root)
    assert list(cache.iterdir())
    file = root / "cat" / "1.png"
    data = file.read_bytes()
    if change == "content":  # of equal size, with the time of modification put back
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        os.utime(file, (OLD, OLD))
    elif change == "touched":
        os.utime(file, (OLD + 1, OLD + 1))
    elif change == "replaced":
        (root / "new").write_bytes(data)
        os.utime(root / "new", (OLD, OLD))
        (root / "new").replace(file)
    elif change == "renamed":
        file.rename(root / "cat" / "9.png")
    elif change == "gone":
        file.unlink()
    else:
        file.rename(root / "dog" / "9.png")
    reads.clear()
    after = identity(root)
    assert len(reads) == (4 if change == "gone" else 5)
    assert (after.fingerprint == before.fingerprint) == (change in ("touched", "replaced"))


def test_a_file_changed_just_now_is_not_trusted(root: Path, cache: Path, reads: Counter[str]) -> None:
    os.utime(root / "cat" / "1.png", None)
    identity(root)
    assert not cache.exists()
    os.utime(root / "cat" / "1.png", (time.time() + 100, time.time() + 100))
    identity(root)
    assert not cache.exists(), "a clock ahead of this one"
    assert set(reads.values()) == {2}


def test_the_time_of_change_counts_too(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents_cache, "LEAST_IMAGES", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    identity(root)
    assert not (tmp_path / "user").exists(), "the files were made just now, whatever their times of modification"


def test_a_file_changed_while_the_set_is_read(
    root: Path, cache: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FileReader.read

    def changing(self: FileReader, record: ImageRecord) -> bytes:
        os.utime(root / "cat" / "0.png", (OLD + 5, OLD + 5))
        return read(self, record)

    monkeypatch.setattr(FileReader, "read", changing)
    identity(root)
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["empty", "half", "bit", "other"])
def test_a_damaged_entry_is_made_again(root: Path, cache: Path, reads: Counter[str], damage: str) -> None:
    first = identity(root)
    [entry] = cache.iterdir()
    data = entry.read_bytes()
    changed = {"empty": b"", "half": data[:50], "bit": data[:-1] + bytes([data[-1] ^ 1]), "other": b"{}" * 40}
    entry.write_bytes(changed[damage])
    reads.clear()
    assert same(identity(root), first) and len(reads) == 5 and entry.read_bytes() == data


def test_unreadable_files(root: Path, cache: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "cat" / "link.png").symlink_to(root / "nowhere.png")
    records = tuple(ImageRecord(path.name, path, 0) for path in sorted((root / "cat").iterdir()))
    images = [ImageSet("s", records, ("cat",)) for _ in range(3)]
    first = images[0].contents
    assert list(first.unreadable) == ["link.png"] and len(reads) == 3
    reads.clear()
    assert same(images[1].contents, first) and not reads
    (root / "nowhere.png").write_bytes((root / "cat" / "1.png").read_bytes())
    assert not images[2].contents.unreadable and len(reads) == 4

    def denied(self: FileReader, record: ImageRecord) -> bytes:
        raise PermissionError(13, "Permission denied")

    before = len(list(cache.iterdir()))
    os.utime(root / "dog" / "0.png", (OLD - 1, OLD - 1))
    with monkeypatch.context() as patch:
        patch.setattr(FileReader, "read", denied)
        assert len(identity(root).unreadable) == 6
    assert len(list(cache.iterdir())) == before, "a mounted disk may be readable later without a change of its files"


def test_the_scale_of_16_bits_depends_on_other_images(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "deep" / "class"
    folder.mkdir(parents=True)
    for number, largest in enumerate((1000, 4000)):
        file = folder / f"{number}.png"
        Image.fromarray(np.full((4, 4), largest, np.uint16)).save(file)
        os.utime(file, (OLD, OLD))

    def first() -> str:
        return datasets.load(f"folder:{folder.parent}").subset([0]).fingerprint

    before = first()
    Image.fromarray(np.full((4, 4), 60000, np.uint16)).save(folder / "1.png")
    os.utime(folder / "1.png", (OLD, OLD))
    assert first() != before and not cache.exists()


def test_a_folder_that_cannot_be_written(root: Path, cache: Path, reads: Counter[str], tmp_path: Path) -> None:
    (tmp_path / "user").write_text("a file")
    assert same(identity(root), identity(root)) and set(reads.values()) == {2}


def test_old_entries_are_removed(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents_cache, "MAX_ENTRIES", 2)
    for number in range(4):
        datasets.load(f"folder:{root}").subset([number]).contents  # noqa: B018
    assert len(list(cache.iterdir())) == 2


def test_sets_without_files_have_no_entry(cache: Path) -> None:
    datasets.load("planted:two_concepts").contents  # noqa: B018
    assert not cache.exists()
