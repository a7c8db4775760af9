"""Image sets: the shipped photographs, splits, fingerprints, and what is loaded by name."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import make_folder, names
from PIL import Image

from harness import datasets
from harness.datasets import contents, photos
from harness.datasets.base import FileReader, ImageRecord, ImageSet, _largest_remainders
from harness.datasets.summary import describe
from methods.errors import UserError

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
        with pytest.raises(UserError, match="number of images after the colon"):
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


@pytest.mark.parametrize("counts", [[1], []])
def test_one_image_cannot_be_divided(counts):
    with pytest.raises(UserError, match=rf"has {len(counts)} images?: at least two are needed"):
        labelled(counts).split(evaluation=0.5)


def test_labels_are_minus_one_where_unknown():
    images = labelled([2], unlabelled=1)
    assert images.labels.tolist() == [0, 0, -1] and images.labels.dtype == np.int64


def test_subset_is_sorted_and_checked():
    images = labelled([3])
    assert names(images.subset([2, 0])) == ["0/0", "0/2"]
    for bad in ([3], [-1], [1, 1]):
        with pytest.raises(UserError):
            images.subset(bad)


def test_two_hundred_thousand_names_are_split_in_proportion():
    parts = labelled([20_000] * 10).split(evaluation=0.1)
    assert np.bincount(parts.evaluation.labels).tolist() == [2000] * 10 and len(parts.probing) == 180_000


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
    monkeypatch.setattr(contents, "WHOLE_CONTENT_LIMIT", 10)
    root = make_folder(tmp_path, {"cat": 2})
    (root / "cat" / "0.png").write_bytes(b"x" * 9000)
    first = datasets.load(f"folder:{root}").fingerprint
    (root / "cat" / "0.png").write_bytes(b"x" * 4096 + b"y" * 4904)
    assert datasets.load(f"folder:{root}").fingerprint == first  # what sampling cannot see, as documented
    (root / "cat" / "0.png").write_bytes(b"x" * 4095 + b"y" * 4905)
    second = datasets.load(f"folder:{root}").fingerprint
    (root / "cat" / "0.png").write_bytes(b"x" * 9001)
    assert first.startswith("sampled:") and len({first, second, datasets.load(f"folder:{root}").fingerprint}) == 3


def test_unreadable_files_are_part_of_the_identity_and_refuse_nothing(tmp_path):
    images = datasets.load(f"folder:{make_folder(tmp_path, {'cat': 3})}")
    complete = datasets.load(f"folder:{tmp_path}").fingerprint
    (tmp_path / "cat" / "0.png").unlink()
    (tmp_path / "cat" / "0.png").symlink_to(tmp_path / "missing.png")
    assert images.contents.unreadable == {"cat/0.png": "No such file or directory"}
    assert images.contents.keys[0] == 0 and images.contents.keys[1:].all()
    assert images.fingerprint == datasets.load(f"folder:{tmp_path}").fingerprint != complete
    assert describe(images.split(evaluation=1))[1] == "  Skipped: 1 (No such file or directory), as cat/0.png."


def test_a_file_without_permission_is_unreadable(tmp_path, monkeypatch):
    make_folder(tmp_path, {"cat": 2})
    original = FileReader.read

    def refuse(self: FileReader, record: ImageRecord) -> bytes:
        if record.name == "cat/1.png":
            raise PermissionError(13, "Permission denied")
        return original(self, record)

    monkeypatch.setattr(FileReader, "read", refuse)
    assert datasets.load(f"folder:{tmp_path}").contents.unreadable == {"cat/1.png": "Permission denied"}


# --- by name --------------------------------------------------------------------------------------------------------


def test_unknown_names_answer_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean photos"):
        datasets.load("photo")
    with pytest.raises(UserError, match="no dataset 'imagenette'"):
        datasets.load("imagenette:/x")
    with pytest.raises(UserError, match="There are clipart, folder, hf, imagenet, openmoji, parquet, photos"):
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
