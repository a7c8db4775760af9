"""Tar shards, read in place; an archive of somebody else is refused in one sentence, or read as far as it is right."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness import datasets
from harness.datasets import contents_cache, tar_index
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport, batches
from methods.errors import UserError


def picture(level: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (9, 7), (level,) * 3).save(data, "PNG")
    return data.getvalue()


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


def shard(path: Path, samples: dict[str, bytes], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, data in samples.items():
            add(archive, name, data)
    return path


def numbered(start: int, stop: int) -> dict[str, bytes]:
    samples: dict[str, bytes] = {}
    for number in range(start, stop):
        samples |= {f"{number:04d}.png": picture(number), f"{number:04d}.cls": str(number % 3).encode()}
    return samples


def load(path: Path) -> ImageSet:
    return datasets.load(f"webdataset:{path}")


def levels(images: ImageSet) -> list[int]:
    pixels = batches(images, lambda image, _: torch.tensor(image.getpixel((0, 0))), batch_size=4, report=BrokenReport())
    return [int(level) for batch in pixels for level in batch.images[:, 0]]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_shards_are_one_set(tmp_path: Path, form: int) -> None:
    shard(tmp_path / "s-0.tar", numbered(0, 5), format=form)
    shard(tmp_path / "s-1.tar", numbered(5, 9), format=form)
    images = load(tmp_path)
    assert len(images) == 9 and images.classes == ("0", "1", "2") and images.predefined_split is None
    assert images.labels.tolist() == [number % 3 for number in range(9)] and levels(images) == list(range(9))
    assert images.records[0].name == "s-0.tar/0000.png" and images.name == f"webdataset:{tmp_path.name}"
    assert images.fingerprint == load(tmp_path / "s-*.tar").fingerprint != load(tmp_path / "s-1.tar").fingerprint
    assert len(load(tmp_path / "s-1.tar")) == 4
    probing, evaluation = images.split(evaluation=3)
    assert len(probing) == 6 and sorted(levels(probing) + levels(evaluation)) == list(range(9))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(tmp_path: Path, form: int) -> None:
    names = ["d" * 90 + "/" + "n" * 200 + ".png", "ü/é.png", "plain.PNG"]
    images = load(shard(tmp_path / "a.tar", {name: picture(7) for name in names}, format=form))
    assert {record.name for record in images.records} == {f"a.tar/{name}" for name in names}
    assert levels(images) == [7] * 3


@pytest.mark.parametrize(
    ("names", "probing", "left_out"),
    [
        (("train-0", "train-1", "val-0"), {"train-0", "train-1"}, ""),
        (("in1k-train-0", "in1k-validation-0"), {"in1k-train-0"}, ""),
        (("train/0", "train/1", "test/0"), {"train/0", "train/1"}, ""),
        (("train-0-of-2", "train-1-of-2", "val-0-of-1"), {"train-0-of-2", "train-1-of-2"}, ""),
        (("train-0", "val-0", "test-0"), {"train-0"}, "test"),
        (("photos-0", "photos-1"), None, ""),
    ],
)
def test_splits_by_the_names_of_shards(
    tmp_path: Path, names: tuple[str, ...], probing: set[str] | None, left_out: str
) -> None:
    for position, name in enumerate(names):
        shard(tmp_path / f"{name}.tar", numbered(3 * position, 3 * position + 3))
    images = load(tmp_path)
    if probing is None:
        assert images.predefined_split is None
        return
    split = images.split(evaluation=1)
    assert {record.name.rpartition(".tar/")[0] for record in split.probing.records} == probing
    assert len(split.probing) + len(split.evaluation) == len(images)
    assert images.notes == ((f"Left out: {left_out}.",) if left_out else ())


def test_ambiguous_splits_are_an_error(tmp_path: Path) -> None:
    for name in ("val-0", "validation-0", "train-0"):
        shard(tmp_path / f"{name}.tar", numbered(0, 2))
    with pytest.raises(UserError, match=r"val and validation are all names of the validation split. Give a pattern"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("texts", "label"),
    [
        ({"cls": b"7\n"}, "7"),
        ({"cls": b"tench"}, "tench"),
        ({"cls": "e\u0301".encode()}, "\u00e9"),
        ({"cls": b"-1"}, None),
        ({"cls": b""}, None),
        ({"json": b'{"label": 4, "caption": "x"}'}, "4"),
        ({"json": b'{"class_name": "crane"}'}, "crane"),
        ({"json": b'{"caption": "x"}'}, None),
        ({"cls": b"2", "json": b'{"label": 4}'}, "2"),
        ({}, None),
    ],
)
def test_labels(tmp_path: Path, texts: dict[str, bytes], label: str | None) -> None:
    samples = {f"a.{suffix}": text for suffix, text in texts.items()}
    images = load(shard(tmp_path / "a.tar", {**samples, "a.png": picture(1)}))
    assert images.classes == (() if label is None else (label,))
    assert images.labels.tolist() == [-1 if label is None else 0]


@pytest.mark.parametrize(
    "texts",
    [
        {"cls": b"9" * 5000},
        {"cls": b"\xff\xfe"},
        {"cls": b"\x1b[2J"},
        {"cls": b"x" * 300},
        {"json": b"[1]"},
        {"json": b"{"},
        {"json": b"[" * 100_000},
        {"json": b'{"label": {"a": 1}}'},
        {"json": b'{"label": 1e400}'},
        {"json": b'{"label": ' + b"9" * 5000 + b"}"},
        {"json": b'"' + b"x" * (1 << 20) + b'"'},
    ],
    ids=str,
)
def test_a_bad_label_skips_its_image(tmp_path: Path, texts: dict[str, bytes]) -> None:
    samples = {f"a.{suffix}": text for suffix, text in texts.items()}
    images = load(shard(tmp_path / "a.tar", {**samples, "a.png": picture(1), **numbered(5, 6)}))
    assert len(images) == 1 and list(images.skipped) == ["a.tar/a.png"]
    assert "its label cannot be read" in images.skipped["a.tar/a.png"]


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in numbered(0, 1).items():
            add(archive, name, data)
        add(archive, "folder", type=tarfile.DIRTYPE)
        add(archive, "link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "hard.png", type=tarfile.LNKTYPE, linkname="0000.png")
        add(archive, "device.png", type=tarfile.CHRTYPE)
        add(archive, "../../up.png", picture(1))
        add(archive, "/absolute.png", picture(1))
        add(archive, "bell\x07.png", picture(1))
        add(archive, "n" * 1500 + ".png", picture(1))
        add(archive, "0000.jpg", picture(1))
        add(archive, "raw.nef", b"x")
        add(archive, "0000.txt", b"a caption")
        add(archive, "late.png", picture(2))
    images = load(path)
    assert [record.name for record in images.records] == ["a.tar/0000.png", "a.tar/late.png"]
    reasons = {name.removeprefix("a.tar/")[:12]: reason for name, reason in images.skipped.items()}
    assert reasons["link.png"] == reasons["hard.png"] == "it is a link"
    assert reasons["device.png"] == "it is no regular file"
    assert reasons["../../up.png"] == reasons["/absolute.pn"] == reasons["bell\x07.png"]
    assert reasons["../../up.png"] == "its name leads out of the archive or cannot be printed"
    assert reasons["nnnnnnnnnnnn"] == "its name is too long" and reasons["0000.jpg"] == "its sample has another image"
    assert "develop the raw files" in reasons["raw.nef"] and len(reasons) == 9
    assert images.notes == ("1 other members ignored (.txt).",)


# --- hostile and damaged archives -------------------------------------------------------------------------------------


def header(name: str, size: int | bytes, kind: bytes = b"0") -> bytes:
    """A header that declares any size."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "size", [10**9, 8**11 - 1, b"\x80" + (1 << 80).to_bytes(11, "big"), b"\xff" * 12], ids=["1G", "8G", "huge", "minus"]
)
def test_a_size_beyond_the_file(tmp_path: Path, size: int | bytes) -> None:
    path = shard(tmp_path / "a.tar", numbered(0, 2))
    path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(-len(path.read_bytes().rstrip(b"\0")) % 512))
    with path.open("ab") as file:
        file.write(header("big.png", size) + b"x" * 512)
    images = load(path)
    assert len(images) == 2 and images.skipped == {"a.tar/big.png": "the archive ends before it does"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "hold no images"),
        (b"\0" * 10240, "hold no images"),
        (b"\x1f\x8b" + b"x" * 2000, "no uncompressed tar file: .*gunzip"),
        (b"x" * 2000, "no uncompressed tar file"),
        (header("a.png", 0) + b"garbage!" * 64, "damaged at byte 512"),
        (header("name", 10**6, b"L") + b"n" * 10**6 + bytes(448), "a name takes 976.6 KiB"),
        (header("name", 10**6, b"x") + b"n" * 10**6 + bytes(448), "a name takes 976.6 KiB"),
        (header("name", 10**9, b"L"), "declares 953.7 MiB, and the file ends before"),
        (header("name", 600, b"V"), "declares 600 bytes, and the file ends before"),
    ],
)
def test_damaged_archives_are_refused_in_one_sentence(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(UserError, match=message) as refused:
        load(tmp_path / "a.tar")
    assert str(tmp_path) not in str(refused.value) or "hold no images" in message


@pytest.mark.parametrize(
    "record",
    [b"", b"5 a=", b"99999999999 path=x\n", b"-1 path=x\n", b"3 \n", b"11 size=-5\n", b"0 \n", b"2 path=x\n", b"a=b\n"],
)
def test_odd_extended_headers_end_without_harm(tmp_path: Path, record: bytes) -> None:
    extended = header("x", len(record), b"x") + record.ljust(512, b"\0") * bool(record)
    data = picture(3)
    member = header("a.png", len(data)) + data.ljust(-(-len(data) // 512) * 512, b"\0")
    (tmp_path / "a.tar").write_bytes(extended + member + bytes(1024))
    assert levels(load(tmp_path / "a.tar")) == [3]


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_index, "MOST_MEMBERS", 5)
    with pytest.raises(UserError, match="more than 5 members: divide it"):
        load(shard(tmp_path / "a.tar", numbered(0, 3)))


@given(position=st.integers(0, 4095), value=st.integers(0, 255))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_never_gives_a_traceback(tmp_path: Path, position: int, value: int) -> None:
    path = shard(tmp_path / "a.tar", numbered(0, 3))
    data = bytearray(path.read_bytes())
    data[position] = value
    path.write_bytes(data)
    try:
        images = load(path)
        assert images.fingerprint
        for index in range(len(images)):
            images.open(index)
    except (UserError, datasets.BrokenImageError):
        pass


def test_a_shard_that_shrinks_is_broken(tmp_path: Path) -> None:
    images = load(shard(tmp_path / "a.tar", numbered(0, 3)))
    os.truncate(tmp_path / "a.tar", 600)
    with pytest.raises(datasets.BrokenImageError, match=r"the archive has become shorter|Invalid"):
        images.open(2)


def test_paths(tmp_path: Path) -> None:
    for identifier in ("", str(tmp_path / "none.tar"), str(tmp_path / "**x"), str(tmp_path), str(tmp_path / "\0")):
        with pytest.raises(UserError, match=r"webdataset: needs a path|There is no tar file"):
            datasets.load(f"webdataset:{identifier}")
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(UserError, match=r"cannot be read .not a regular file"):
        load(tmp_path / "pipe.tar")


def test_a_changed_shard_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents_cache, "LEAST_IMAGES", 1)
    monkeypatch.setattr(contents_cache, "RACY_S", -1e9)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    path = shard(tmp_path / "a.tar", numbered(0, 3))
    first = load(path).fingerprint
    assert load(path).fingerprint == first and len(list((tmp_path / "user" / "harness" / "image_sets").iterdir())) == 1
    data = bytearray(path.read_bytes())
    data[560] ^= 1
    path.write_bytes(data)
    os.utime(path, (time.time() - 9, time.time() - 9))
    assert load(path).fingerprint != first
