"""Class folders: their layouts, names of every kind, and what is refused in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_folders import make_folder, names
from PIL import Image
from small_runs import suite_of

from harness import datasets
from harness.cells.plan import prepare
from harness.datasets.base import FileReader, ImageRecord, ImageSet
from harness.datasets.loading import require_readable
from harness.run import run
from methods.errors import UserError


def test_class_folder(tmp_path):
    root = make_folder(tmp_path / "pets", {"dog": 2, "cat": 3, ".hidden": 1, "empty": 0})
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "cat" / "deeper").mkdir()
    Image.new("RGB", (5, 5)).save(root / "cat" / "deeper" / "x.JPG", format="JPEG")
    images = datasets.load(f"folder:{root}")
    assert images.name == "folder:pets" and images.classes == ("cat", "dog")
    assert names(images) == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/deeper/x.JPG", "dog/0.png", "dog/1.png"]
    assert images.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert images.predefined_split is None


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_imagenet_layout_brings_its_predefined_split(tmp_path, validation):
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


def test_what_no_cell_could_use_is_said_once_and_before_anything_is_computed(tmp_path: Path) -> None:
    make_folder(tmp_path / "broken", {"cat": 4, "dog": 4})
    for file in (tmp_path / "broken").rglob("*.png"):
        file.write_bytes(b"x")
    cases = [
        ("broken", r"None of the \d images of 'folder:broken' can be read\. .*no image format"),
        ("alone", "has 1 image: at least two are needed"),
        ("cats", "at least two classes, and folder:cats has only one there"),
    ]
    make_folder(tmp_path / "alone", {"cat": 1})
    make_folder(tmp_path / "cats", {"cat": 6})
    for name, sentence in cases:
        suite = suite_of(tmp_path / name, "identity", data={"dataset": f"folder:{tmp_path / name}", "evaluation": 0.4})
        with pytest.raises(UserError, match=sentence):
            run(suite, tmp_path / "r.duckdb")
    assert not (tmp_path / "r.duckdb").exists() and not (tmp_path / "cache").exists()


def test_one_class_is_enough_for_a_network_with_its_own_head(tmp_path: Path) -> None:
    make_folder(tmp_path / "cats", {"cat": 6})
    data = {"dataset": f"folder:{tmp_path / 'cats'}", "evaluation": 0.4}
    assert prepare(suite_of(tmp_path, "identity", backbone="tiny_cnn", data=data), device="cpu")[0].head.name == "own"


class Counting(FileReader):
    """Notes what is read."""

    def __init__(self, read: list[str]) -> None:
        self.seen = read

    def read(self, record: ImageRecord) -> bytes:
        self.seen.append(record.name)
        return super().read(record)


def test_the_first_readable_image_is_enough(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 4, "dog": 4})
    for label in ("cat", "dog"):
        (tmp_path / label / "0.png").write_bytes(b"x")
    images = datasets.load(f"folder:{tmp_path}")
    opened: list[str] = []
    looking = ImageSet(images.name, images.records, images.classes, reader=Counting(opened))
    require_readable(looking)
    assert opened == ["cat/0.png", "cat/1.png"]
