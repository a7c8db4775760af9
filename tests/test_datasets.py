"""Image sets: the shipped photographs, class folders, Hugging Face sets, splits, fingerprints and batches."""

from __future__ import annotations

import csv
import hashlib
import itertools
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness import datasets
from harness.datasets import base, folder, photos
from harness.datasets.base import ImageRecord, ImageSet, _largest_remainders
from methods.errors import UserError


def make_folder(root: Path, layout: dict[str, int]) -> Path:
    """``{"cat": 3}`` makes cat/0.png to cat/2.png, each image of another grey."""
    for number, (name, count) in enumerate(layout.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("RGB", (12 + number, 10), (index * 7 % 256,) * 3).save(root / name / f"{index}.png")
    return root


def names(images: ImageSet) -> list[str]:
    return [record.name for record in images.records]


def to_tensor(image: Image.Image, index: int) -> torch.Tensor:
    return torch.full((3, 2, 2), float(index))


# --- the shipped photographs ----------------------------------------------------------------------------------------


def test_photos_are_what_the_readme_says():
    images = datasets.load("photos")
    assert len(images) == 249 and images.name == "photos"
    counts = dict(zip(images.classes, np.bincount(images.labels).tolist(), strict=True))
    assert counts == {
        "animal": 57, "fish": 26, "household-object": 16, "monument": 76, "music": 9,
        "renewable-energy": 29, "tool": 36,
    }  # fmt: skip
    assert names(images) == sorted(names(images))
    assert all(max(images.open(index).size) <= 400 for index in range(0, 249, 5))


def test_every_photo_has_its_attribution():
    with (photos.FOLDER / "attribution.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == set(names(datasets.load("photos")))
    assert all(row["license"] and row["copyright"] and row["source_package"] for row in rows)


def test_fingerprint_of_the_photos_must_not_change():
    assert datasets.load("photos").fingerprint == "content:a3efb3fc09930ff2dcb8588764034edc"


def test_split_of_the_photos_must_not_change():
    split = datasets.load("photos").split(evaluation=100)
    assert (len(split.probing), len(split.evaluation)) == (149, 100)
    assert np.bincount(split.evaluation.labels).tolist() == [23, 10, 6, 31, 4, 12, 14]
    chosen = hashlib.blake2b("|".join(names(split.evaluation)).encode(), digest_size=8).hexdigest()
    assert chosen == "66f82da46fb192dc"


def test_photos_take_a_number_of_them():
    some = datasets.load("photos:80")
    assert len(some) == 80 and some.name == "photos:80" and np.bincount(some.labels).all()
    assert names(some) == names(datasets.load("photos:80"))
    for wrong in ("x", "0", "-3"):
        with pytest.raises(UserError, match="how many of the photographs"):
            datasets.load(f"photos:{wrong}")
    with pytest.raises(UserError, match="has 249 images"):
        datasets.load("photos:400")


# --- splits ---------------------------------------------------------------------------------------------------------


def labelled(counts: list[int], unlabelled: int = 0) -> ImageSet:
    records = [ImageRecord(f"{c}/{i}", Path("none"), c) for c, n in enumerate(counts) for i in range(n)]
    records += [ImageRecord(f"u/{i}", Path("none"), None) for i in range(unlabelled)]
    return ImageSet("made", tuple(sorted(records)), tuple(str(c) for c in range(len(counts))))


def test_largest_remainders_at_known_points():
    assert _largest_remainders([1, 1, 1], 2) == [1, 1, 0]
    assert _largest_remainders([50, 30, 20], 10) == [5, 3, 2]
    assert _largest_remainders([6, 3, 1], 5) == [3, 2, 0]  # 3, 1.5, 0.5: the tie goes to the lower class


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 10), st.integers(0, 99), st.data())
@settings(max_examples=100, deadline=None)
def test_split_is_a_partition_in_proportion(counts, unlabelled, seed, data):
    images = labelled(counts, unlabelled)
    if len(images) < 2:
        return
    wanted = data.draw(st.integers(1, len(images) - 1))
    probing, evaluation = images.split(evaluation=wanted, seed=seed)
    assert len(evaluation) == wanted
    assert sorted(names(probing) + names(evaluation)) == names(images)
    for label in np.unique(images.labels):
        quota = wanted * (images.labels == label).sum() / len(images)
        assert abs((evaluation.labels == label).sum() - quota) < 1


def test_split_depends_on_the_seed_and_on_nothing_else():
    images = labelled([30, 20])
    one, again, other = (images.split(evaluation=10, seed=seed).evaluation for seed in (0, 0, 1))
    assert names(one) == names(again) != names(other)


def test_split_takes_a_fraction():
    assert len(labelled([30, 20]).split(evaluation=0.2).evaluation) == 10


@pytest.mark.parametrize("bad", [0, 50, 51, -1, 0.0, 1.0, 1.5, True, "10"])
def test_split_refuses_what_leaves_a_side_empty(bad):
    with pytest.raises(UserError, match="split"):
        labelled([30, 20]).split(evaluation=bad)


def test_labels_are_minus_one_where_unknown():
    images = labelled([2], unlabelled=1)
    assert images.labels.tolist() == [0, 0, -1] and images.labels.dtype == np.int64


def test_subset_is_sorted_and_checked():
    images = labelled([3])
    assert names(images.subset([2, 0])) == ["0/0", "0/2"]
    for bad in ([3], [-1], [1, 1]):
        with pytest.raises(UserError):
            images.subset(bad)


# --- class folders --------------------------------------------------------------------------------------------------


def test_class_folder(tmp_path):
    root = make_folder(tmp_path / "pets", {"dog": 2, "cat": 3, ".hidden": 1, "empty": 0})
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "cat" / "deeper").mkdir()
    Image.new("RGB", (5, 5)).save(root / "cat" / "deeper" / "x.JPG", format="JPEG")
    images = datasets.load(f"folder:{root}")
    assert images.name == "folder:pets" and images.classes == ("cat", "dog")
    assert names(images) == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/deeper/x.JPG", "dog/0.png", "dog/1.png"]
    assert images.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert images.own_split is None


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_imagenet_layout_brings_its_own_split(tmp_path, validation):
    layout = {"train/n01": 3, "train/n02": 2, f"{validation}/n01": 1, f"{validation}/n02": 1, "test/n01": 4}
    images = datasets.load(f"folder:{make_folder(tmp_path, layout)}")
    assert images.classes == ("n01", "n02") and len(images) == 7
    split = images.split(evaluation=10_000)  # ignored
    assert names(split.probing) == [f"train/{name}.png" for name in ("n01/0", "n01/1", "n01/2", "n02/0", "n02/1")]
    assert names(split.evaluation) == [f"{validation}/n01/0.png", f"{validation}/n02/0.png"]
    assert split.evaluation.labels.tolist() == [0, 1]


def test_train_without_validation_is_a_class_like_any_other(tmp_path):
    assert datasets.load(f"folder:{make_folder(tmp_path, {'train': 2, 'boat': 2})}").classes == ("boat", "train")


def test_a_link_to_above_is_not_walked_for_ever(tmp_path):
    make_folder(tmp_path, {"cat": 2})
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat")
    assert len(datasets.load(f"folder:{tmp_path}")) == 2


def test_names_that_are_no_utf8_can_be_hashed_printed_and_read(tmp_path):
    make_folder(tmp_path, {"cat": 2})
    odd = tmp_path / os.fsdecode(b"d\xff")
    odd.mkdir()
    (tmp_path / "cat" / "0.png").rename(odd / os.fsdecode(b"\xfe.png"))
    images = datasets.load(f"folder:{tmp_path}")
    assert images.classes == ("cat", "d\\udcff") and names(images) == ["cat/1.png", "d\\udcff/\\udcfe.png"]
    assert images.fingerprint.encode() and images.split(evaluation=1)
    assert [images.open(index).size for index in (0, 1)]


def test_folder_errors_say_what_is_expected(tmp_path):
    with pytest.raises(UserError, match=r"no folder.*CLASS"):
        datasets.load(f"folder:{tmp_path / 'missing'}")
    with pytest.raises(UserError, match="needs a path"):
        datasets.load("folder:")
    Image.new("RGB", (4, 4)).save(tmp_path / "loose.png")
    with pytest.raises(UserError, match=r"no class sub-folders.*PATH/CLASS/IMAGE"):
        datasets.load(f"folder:{tmp_path}")
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match="no images"):
        datasets.load(f"folder:{tmp_path}")
    make_folder(tmp_path / "own", {"train/cat": 2, "val/cat": 0})
    with pytest.raises(UserError, match="val/"):
        datasets.load(f"folder:{tmp_path / 'own'}")


def test_two_hundred_thousand_names_are_cheap():
    started = time.perf_counter()
    images = labelled([20_000] * 10)
    assert len(images.split(evaluation=0.1).evaluation) == 20_000
    assert time.perf_counter() - started < 10


# --- fingerprints ---------------------------------------------------------------------------------------------------


def test_fingerprint_sees_bytes_names_and_labels_but_not_the_place(tmp_path):
    one = make_folder(tmp_path / "a" / "pets", {"cat": 2, "dog": 2})
    two = make_folder(tmp_path / "b" / "pets", {"cat": 2, "dog": 2})
    first = datasets.load(f"folder:{one}").fingerprint
    assert first.startswith("content:") and first == datasets.load(f"folder:{two}").fingerprint
    (two / "cat" / "0.png").rename(two / "cat" / "00.png")
    renamed = datasets.load(f"folder:{two}").fingerprint
    Image.new("RGB", (12, 10), (9, 9, 9)).save(two / "cat" / "00.png")
    changed = datasets.load(f"folder:{two}").fingerprint
    (two / "dog" / "1.png").rename(two / "cat" / "1b.png")
    moved = datasets.load(f"folder:{two}").fingerprint
    assert len({first, renamed, changed, moved}) == 4


def test_large_sets_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "WHOLE_CONTENT_LIMIT", 10)
    root = make_folder(tmp_path, {"cat": 2})
    (root / "cat" / "0.png").write_bytes(b"x" * 9000)
    first = datasets.load(f"folder:{root}").fingerprint
    (root / "cat" / "0.png").write_bytes(b"x" * 4096 + b"y" * 4904)
    assert datasets.load(f"folder:{root}").fingerprint == first  # what sampling cannot see, as documented
    (root / "cat" / "0.png").write_bytes(b"x" * 4095 + b"y" * 4905)
    second = datasets.load(f"folder:{root}").fingerprint
    (root / "cat" / "0.png").write_bytes(b"x" * 9001)
    assert first.startswith("sampled:") and len({first, second, datasets.load(f"folder:{root}").fingerprint}) == 3


def test_a_file_that_went_away_is_said_plainly(tmp_path):
    images = datasets.load(f"folder:{make_folder(tmp_path, {'cat': 2})}")
    (tmp_path / "cat" / "0.png").unlink()
    with pytest.raises(UserError, match=r"cannot be read: 'cat/0\.png': No such file"):
        _ = images.fingerprint


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
        (None, "No such file"),
    ],
)
def test_broken_images_say_why(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(datasets.BrokenImageError) as caught:
        one_image(tmp_path, "x.png").open(0)
    assert caught.value.broken.name == "x.png" and caught.value.broken.reason
    assert reason in caught.value.broken.reason and str(tmp_path) not in str(caught.value)


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
    assert [broken.name for broken in report] == ["cat/0.png", "cat/5.png"] and len(report) == 2
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


# --- by name --------------------------------------------------------------------------------------------------------


def test_unknown_names_answer_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean photos"):
        datasets.load("photo")
    with pytest.raises(UserError, match="no dataset 'imagenette'"):
        datasets.load("imagenette:/x")
    with pytest.raises(UserError, match="There are folder, hf, imagenet, photos"):
        datasets.load("")


def test_describe_lists_all_without_reading():
    rows = {row.name: row for row in datasets.describe()}
    assert set(rows) == set(datasets.names()) >= {"photos", "folder", "hf"}
    assert rows["photos"].available == "yes"


def test_hf_without_its_package_names_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install datasets"):
        datasets.load("hf:cifar10")
    assert {row.name: row.available for row in datasets.describe()}["hf"] == "needs package datasets"


def huggingface_folder(path: Path, splits: dict[str, int]) -> Path:
    hf = pytest.importorskip("datasets", reason="hf: image sets need the package datasets")
    features = hf.Features({"picture": hf.Image(), "kind": hf.ClassLabel(names=["cat", "dog"])})
    parts = {
        name: hf.Dataset.from_dict(
            {
                "picture": [Image.new("RGB", (6, 6), (i, 0, 0)) for i in range(count)],
                "kind": [-1 if i == 2 else i % 2 for i in range(count)],
            },
            features=features,
        )
        for name, count in splits.items()
    }
    hf.DatasetDict(parts).save_to_disk(str(path))
    return path


def test_huggingface_set_from_disk(tmp_path):
    root = huggingface_folder(tmp_path / "tiny", {"train": 4, "test": 2})
    images = datasets.load(f"hf:{root}")
    assert images.name == "hf:tiny" and images.classes == ("cat", "dog") and len(images) == 6
    split = images.split(evaluation=1)
    assert (len(split.probing), len(split.evaluation)) == (4, 2)
    assert split.probing.labels.tolist() == [0, 1, -1, 1]
    assert split.probing.open(3).getpixel((0, 0)) == (3, 0, 0)
    assert images.fingerprint.startswith("content:")
    only = datasets.load(f"hf:{root}:test")
    assert len(only) == 2 and only.own_split is None and only.name == "hf:tiny:test"
    stream = datasets.batches(images, to_tensor, batch_size=4, report=datasets.BrokenReport())
    assert [len(batch.index) for batch in stream] == [4, 2]
    with pytest.raises(UserError, match=r"no split 'x'. There are train, test"):
        datasets.load(f"hf:{root}:x")


def test_huggingface_errors(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="hf: image sets need the package datasets")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="could not be read"):
        datasets.load(f"hf:{tmp_path / 'empty'}")
    root = huggingface_folder(tmp_path / "two", {"train": 1, "extra": 1})
    with pytest.raises(UserError, match="several splits"):
        datasets.load(f"hf:{root}")


def test_suffixes_are_lower_case():
    assert all(suffix == suffix.lower() for suffix in folder.SUFFIXES)
