"""Summary of an image set at the start of a run: sizes, what was skipped, and duplicates."""

from __future__ import annotations

import os
import shutil
import sys
import types
from pathlib import Path

import pytest
from image_folders import make_folder
from PIL import Image
from small_runs import suite_of

from harness import datasets
from harness.cells.plan import prepare
from harness.datasets import contents
from harness.datasets.base import DatasetSplit
from harness.datasets.folders import image_files
from harness.datasets.folders.image_files import SUFFIXES, readable_suffixes, why_skipped
from harness.datasets.seen_classes import require_seen_classes
from harness.datasets.summary import describe, find_duplicates
from harness.progress import Silent
from harness.run import run
from methods.errors import UserError
from results import open_store


def split_set(root: Path, **counts: int) -> Path:
    """Make ``train__cat=2`` the folder train/cat with two images; the images of all folders differ."""
    return make_folder(root, {name.replace("__", "/"): count for name, count in counts.items()})


def load(root: Path) -> DatasetSplit:
    return datasets.load(f"folder:{root}").split(evaluation=0.5)


# --- what is skipped ------------------------------------------------------------------------------------------------


def test_photographs_need_one_line():
    split = datasets.load("photos").split(evaluation=100)
    assert describe(split) == [
        "photos: 249 images in 7 classes (smallest: music, 9); 149 for probing, 100 for evaluation."
    ]


def test_every_file_is_read_or_counted_with_its_reason(tmp_path):
    split_set(tmp_path / "pets", cat=3, dog=2, empty=0)
    for size, suffix in enumerate(("jfif", "JPE", "jp2", "avif"), start=7):
        Image.new("RGB", (size, 9), "red").save(tmp_path / "pets" / "cat" / f"x.{suffix}")
    for name in ("cat/a.HEIC", "dog/b.heic", "dog/c.cr2", "dog/notes.txt", "dog/.DS_Store", "README.md"):
        (tmp_path / "pets" / name).write_bytes(b"x")
    Image.new("RGB", (9, 9)).save(tmp_path / "pets" / "cover.png")
    (tmp_path / "pets" / "cat" / "gone.png").symlink_to(tmp_path / "missing.png")
    split = load(tmp_path / "pets")
    assert len(split.probing) + len(split.evaluation) == 3 + 2 + 4 + 1
    heic = "Pillow cannot read .heic files here: install pillow-heif or convert them"
    assert describe(split) == [
        "folder:pets: 10 images in 2 classes (smallest: dog, 2); 5 for probing, 5 for evaluation.",
        "  No images in empty/. 2 other files ignored.",
        f"  Skipped: 2 ({heic}), as cat/a.HEIC, 1 (it lies outside of the class folders), as cover.png, "
        "1 (Pillow cannot read .cr2 files here: develop the raw files to JPEG or PNG), as dog/c.cr2 and "
        "1 (No such file or directory), as cat/gone.png.",
    ]


def test_loose_images_are_counted_at_every_level(tmp_path):
    split_set(tmp_path, train__images__cat=2, train__images__dog=2, val__images__cat=1, val__images__dog=1)
    loose = ["cover.png", "train/a.png", "val/images/b.png"]
    for name in loose:
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    assert sorted(datasets.load(f"folder:{tmp_path}").skipped) == loose


def test_a_class_folder_that_is_a_dangling_link_is_counted(tmp_path):
    split_set(tmp_path, cat=2, dog=2)
    (tmp_path / "fox").symlink_to(tmp_path / "missing")
    assert datasets.load(f"folder:{tmp_path}").skipped == {"fox": "the link leads nowhere"}


def test_a_folder_that_may_not_be_listed_is_counted(tmp_path, monkeypatch):
    split_set(tmp_path, cat=2, dog=2)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    images = datasets.load(f"folder:{tmp_path}")
    assert images.classes == ("cat",) and images.skipped == {"dog/": "Permission denied"}


def test_new_suffixes_do_not_change_the_names_of_other_sets():
    readable = readable_suffixes()
    assert set(SUFFIXES) | {".jfif", ".jpe", ".apng"} <= readable
    assert not readable & {".pdf", ".mpg", ".mpeg", ".h5", ".hdf", ".eps", ".ps", ".psd", ".ico", ".svg", ".txt", ""}
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in readable)


def test_formats_of_plugins_are_read_once_they_are_installed(monkeypatch):
    assert why_skipped("x.heic", readable_suffixes())
    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = lambda: Image.OPEN.setdefault("HEIF", (None, None))
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")
    image_files._register_plugins.cache_clear()
    assert ".heic" in readable_suffixes() and why_skipped("x.heic", readable_suffixes()) is None


# --- duplicates -----------------------------------------------------------------------------------------------------


def with_copies(root: Path) -> Path:
    split_set(root, train__cat=4, train__dog=4, val__cat=2, val__dog=2)
    for source, copy in (("train/cat/0", "train/cat/9"), ("train/cat/1", "val/cat/9"), ("train/dog/3", "val/cat/8")):
        shutil.copy(root / f"{source}.png", root / f"{copy}.png")
    return root


def test_duplicates_are_counted_where_they_matter(tmp_path):
    line = describe(load(with_copies(tmp_path)))[-1]
    assert line == (
        "  Duplicates: 3 images with the bytes of another one; 2 evaluation images also for probing (val/cat/9.png is "
        "train/cat/1.png), so scores may be too good; 1 with two labels (train/dog/3.png and val/cat/8.png)."
    )


def test_duplicates_of_large_sets_are_found_by_reading_candidates_only(tmp_path, monkeypatch):
    split = load(with_copies(tmp_path))
    expected = find_duplicates(split)
    for part in split:
        for record in part.records:  # equal size and first bytes, and different ends
            record.path.write_bytes(record.path.read_bytes().ljust(9000, b"x"))
    for number in range(2):
        (tmp_path / "train" / "dog" / f"same{number}.png").write_bytes(b"a" * 5000 + b"%d" % number)
    size = sum(len(record.path.read_bytes()) for part in split for record in part.records)
    monkeypatch.setattr(contents, "WHOLE_CONTENT_LIMIT", size // 2 + 1)
    large = load(tmp_path)
    assert large.probing.fingerprint.startswith("sampled:")
    assert find_duplicates(large)._replace(n_unchecked=0) == expected
    monkeypatch.setattr(contents, "WHOLE_CONTENT_LIMIT", 10)
    assert find_duplicates(load(tmp_path)).n_unchecked == 8
    assert describe(load(tmp_path))[-1].startswith("  8 images may be duplicates")


# --- classes that probing never saw ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (
            {"train__cat": 2, "train__dog": 2, "val__cat": 1, "val__fox": 1},
            r"The class of the evaluation images of folder:x \('fox'\) has no probing image.*--head own",
        ),
        (
            {"train__cat": 2, "train__dog": 2, **{f"val__other{n}": 1 for n in range(7)}},
            r"7 classes .* \('other0', .*'other4' and 2 more\) have no probing image",
        ),
        ({"train__Cat": 2, "train__dog": 2, "val__cat": 1, "val__dog": 1}, r"'cat' and 'Cat' of the probing images"),
        (
            {"train__polar_bear": 2, "train__dog": 2, "val__polar bear": 1, "val__dog": 1},
            r"'polar bear' and 'polar_bear' of the probing images differ only in spelling",
        ),
        ({"train__caf\u00e9": 2, "train__dog": 2, "val__cafe": 1}, "differ only in spelling"),
    ],
)  # fmt: skip
def test_classes_without_probing_images_are_an_error(tmp_path, counts, sentence):
    with pytest.raises(UserError, match=sentence):
        require_seen_classes(load(split_set(tmp_path / "x", **counts)))


def test_unicode_forms_of_one_name_are_one_class(tmp_path):
    split = load(split_set(tmp_path, **{"train__cafe\u0301": 2, "train__dog": 2, "val__caf\u00e9": 1, "val__dog": 1}))
    require_seen_classes(split)
    assert split.probing.classes == ("caf\u00e9", "dog")
    assert split.evaluation.labels.tolist() == [0, 1] and set(split.probing.labels.tolist()) == {0, 1}


def test_only_a_probe_needs_probing_images_of_every_class(tmp_path):
    split_set(tmp_path / "x", train__cat=3, train__dog=3, val__cat=2, val__fox=2)
    data = {"dataset": f"folder:{tmp_path / 'x'}"}
    assert prepare(suite_of(tmp_path, "identity", backbone="tiny_cnn", data=data), device="cpu")[0].head.name == "own"
    with pytest.raises(UserError, match="'fox'"):
        prepare(suite_of(tmp_path, "identity", data=data), device="cpu")


def test_unreadable_probing_images_do_not_count(tmp_path):
    split_set(tmp_path, train__cat=2, train__dog=1, train__fox=1, val__cat=1, val__dog=1)
    (tmp_path / "train" / "dog" / "0.png").unlink()
    (tmp_path / "train" / "dog" / "0.png").symlink_to(tmp_path / "missing")
    with pytest.raises(UserError, match="'dog'"):
        require_seen_classes(load(tmp_path))


# --- in a run -------------------------------------------------------------------------------------------------------


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def test_a_run_says_what_it_read_once_and_records_what_it_skipped(tmp_path):
    split_set(tmp_path / "pets", Train__cat=4, Train__dog=4, Test__cat=2, Test__dog=2)
    (tmp_path / "pets" / "Test" / "cat" / "x.heic").write_bytes(b"x")
    data = {"dataset": f"folder:{tmp_path / 'pets'}"}
    suite = suite_of(tmp_path, "identity", data=data, seeds={"tokens": [1]})
    reporter = Listening()
    for _ in range(2):
        summary = run(suite, tmp_path / "r.duckdb", reporter=reporter)
    assert summary.kept == 1
    lines = [line for line in reporter.said if line.startswith(("folder:pets: 12", "  Skipped: 1 (Pillow"))]
    assert len(lines) == 2
    notes = open_store(tmp_path / "r.duckdb").cells()["notes"].iloc[0]
    assert any("Test/cat/x.heic" in note for note in notes)


def test_broken_probing_images_of_a_class_stop_a_probe(tmp_path):
    split_set(tmp_path / "pets", train__cat=4, train__dog=4, train__fox=1, val__cat=2, val__fox=2)
    (tmp_path / "pets" / "train" / "fox" / "0.png").write_bytes(b"no image")
    suite = suite_of(tmp_path, "identity", data={"dataset": f"folder:{tmp_path / 'pets'}"}, seeds={"tokens": [1]})
    assert run(suite, tmp_path / "r.duckdb").failed == 1
    assert "('fox') has no probing image" in open_store(tmp_path / "r.duckdb").cells()["error_message"].iloc[0]
