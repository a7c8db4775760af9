"""Hugging Face sets from the disk: splits, columns, labels."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from image_folders import names, to_tensor
from PIL import Image

from harness import datasets
from harness.datasets.base import BrokenImageError
from harness.datasets.huggingface_files import folders_of_downloaded, path_of_row
from harness.datasets.summary import describe
from methods.errors import UserError

hf = pytest.importorskip("datasets", reason="hf: image sets need the package datasets")


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (6, 6), (number, 0, 0))


def save(path: Path, splits: dict[str, dict[str, list[Any]]], **features: Any) -> Path:
    """Save a set whose splits hold the given columns; ``picture`` columns are images of the given numbers."""
    parts = {}
    for name, columns in splits.items():
        values = {
            column: [picture(v) for v in cells] if isinstance(features[column], hf.Image) else cells
            for column, cells in columns.items()
        }
        parts[name] = hf.Dataset.from_dict(values, features=hf.Features({key: features[key] for key in columns}))
    hf.DatasetDict(parts).save_to_disk(str(path))
    return path


def usual(path: Path, *splits: str, count: int = 4) -> Path:
    kind = hf.ClassLabel(names=["cat", "dog"])
    columns = {"picture": list(range(count)), "kind": [-1 if i == 2 else i % 2 for i in range(count)]}
    return save(path, dict.fromkeys(splits, columns), picture=hf.Image(), kind=kind)


def test_set_from_disk(tmp_path):
    root = usual(tmp_path / "tiny", "train", "test")
    images = datasets.load(f"hf:{root}")
    assert images.name == "hf:tiny" and images.classes == ("cat", "dog") and len(images) == 8
    split = images.split(evaluation=1)
    assert names(split.evaluation)[0] == "test/000000000" and len(split.probing) == 4
    assert split.probing.labels.tolist() == [0, 1, -1, 1]
    assert split.probing.open(3).getpixel((0, 0)) == (3, 0, 0)
    assert images.fingerprint.startswith("content:") and images.notes == ()
    only = datasets.load(f"hf:{root}:test")
    assert len(only) == 4 and only.predefined_split is None and only.name == "hf:tiny:test"
    stream = datasets.batches(images, to_tensor, batch_size=5, report=datasets.BrokenReport())
    assert [len(batch.index) for batch in stream] == [5, 3]
    with pytest.raises(UserError, match=r"no split 'x'. There are train, test"):
        datasets.load(f"hf:{root}:x")


@pytest.mark.parametrize(
    ("splits", "used", "left_out"),
    [
        ("Train Validation", "Train Validation", ""),
        ("training testing", "training testing", ""),
        ("train validation test", "train validation", "test"),
        ("test train dev unsupervised", "train dev", "test and unsupervised"),
    ],
)
def test_splits_in_any_spelling(tmp_path, splits, used, left_out):
    images = datasets.load(f"hf:{usual(tmp_path / 'x', *splits.split())}")
    probing, evaluation = images.split(evaluation=1)
    assert [names(part)[0].partition("/")[0] for part in (probing, evaluation)] == used.split()
    sentence = f"Left out: {left_out}. Used: {used.replace(' ', ' and ')}."
    assert images.notes == ((sentence,) if left_out else ())


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        ("train extra", "several splits; name one"),
        ("val test", "several splits.*but no training split"),
        ("train validation valid", "validation and valid are all names of the validation split"),
        ("Train train test", "Train and train are all names"),
    ],
)
def test_ambiguous_splits_are_refused(tmp_path, splits, sentence):
    with pytest.raises(UserError, match=sentence):
        datasets.load(f"hf:{usual(tmp_path / 'x', *splits.split())}")


def one_split(path: Path, columns: dict[str, list[Any]], **features: Any) -> datasets.ImageSet:
    return datasets.load(f"hf:{save(path, {'train': columns}, **features)}")


def test_labels_without_class_names(tmp_path):
    images, numbers = hf.Image(), [0, 1, 2, 3]
    texts = one_split(
        tmp_path / "a",
        {"image": numbers, "label": ["dog", "cafe\u0301", "caf\u00e9", ""]},
        image=images,
        label=hf.Value("string"),
    )
    assert texts.classes == ("caf\u00e9", "dog") and texts.labels.tolist() == [1, 0, 0, -1]
    assert texts.notes == ("Labels: column label of label.",)
    integers = one_split(
        tmp_path / "b", {"image": numbers, "Target": [10, 9, -1, 9]}, image=images, Target=hf.Value("int32")
    )
    assert integers.classes == ("9", "10") and integers.labels.tolist() == [1, 0, -1, 0]
    nothing = one_split(
        tmp_path / "c", {"image": numbers, "caption": ["a"] * 4}, image=images, caption=hf.Value("string")
    )
    assert nothing.classes == () and nothing.notes == (
        "No label column among image and caption; give one with ?label=COLUMN.",
    )


def test_splits_that_number_the_classes_differently(tmp_path):
    parts = {}
    for split, order in (("train", ["cat", "dog"]), ("test", ["dog", "cat"])):
        features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=order)})
        parts[split] = hf.Dataset.from_dict({"image": [picture(1), picture(2)], "label": [0, 1]}, features=features)
    hf.DatasetDict(parts).save_to_disk(str(tmp_path / "x"))
    split = datasets.load(f"hf:{tmp_path / 'x'}").split(evaluation=1)
    assert split.probing.classes == ("cat", "dog")
    assert split.probing.labels.tolist() == [0, 1] and split.evaluation.labels.tolist() == [1, 0]


def test_several_columns(tmp_path):
    kinds = {"mask": hf.Image(), "image": hf.Image(), "depth": hf.Image()}
    labels = {"coarse_label": hf.ClassLabel(names=["pet"]), "fine_label": hf.ClassLabel(names=["cat", "dog"])}
    columns = {"mask": [7, 7], "image": [1, 2], "depth": [8, 8], "coarse_label": [0, 0], "fine_label": [0, 1]}
    root = save(tmp_path / "x", {"train": columns}, **kinds, **labels)
    images = datasets.load(f"hf:{root}")
    assert images.open(1).getpixel((0, 0)) == (2, 0, 0) and images.classes == ("cat", "dog")
    assert images.notes == (
        "Images: column image of mask, image and depth.", "Labels: column fine_label of coarse_label and fine_label.",
    )  # fmt: skip
    given = datasets.load(f"hf:{root}:train?image=depth&label=coarse_label")
    assert given.open(0).getpixel((0, 0)) == (8, 0, 0) and given.classes == ("pet",)
    assert given.name == "hf:x:train?image=depth&label=coarse_label"
    for query, sentence in (
        ("image=fine_label", "'fine_label' is no image column"),
        ("label=mask", "'mask' is no label column"),
        ("colour=x", "after the question mark"),
        ("label=", "after the question mark"),
        ("label", "after the question mark"),
    ):
        with pytest.raises(UserError, match=sentence):
            datasets.load(f"hf:{root}?{query}")


def test_columns_without_a_usual_name_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"several image columns \(left and right\); name one: hf:NAME\?image=left"):
        one_split(tmp_path / "x", {"left": [1], "right": [2]}, left=hf.Image(), right=hf.Image())
    label = hf.ClassLabel(names=["a"])
    with pytest.raises(UserError, match=r"several label columns \(hue and size\)"):
        one_split(tmp_path / "y", {"image": [1], "hue": [0], "size": [0]}, image=hf.Image(), hue=label, size=label)


def test_a_split_without_labels_is_not_evaluated_on(tmp_path):
    kind = hf.ClassLabel(names=["cat", "dog"])
    columns = {"train": {"picture": [0, 1, 2, 3], "kind": [0, 1, 0, 1]}, "test": {"picture": [4, 5], "kind": [-1, -1]}}
    images = datasets.load(f"hf:{save(tmp_path / 'x', columns, picture=hf.Image(), kind=kind)}")
    assert len(images) == 4 and images.predefined_split is None
    assert images.notes == ("The labels of test are hidden: a part of train is held out for evaluation.",)


def test_hidden_labels_are_said(tmp_path):
    kind = hf.ClassLabel(names=["cat", "dog"])
    splits = {"train": {"image": [1, 2], "label": [0, 1]}, "test": {"image": [3, 4, 5], "label": [-1, -1, 0]}}
    images = datasets.load(f"hf:{save(tmp_path / 'x', splits, image=hf.Image(), label=kind)}")
    assert describe(images.split(evaluation=1))[0] == (
        "hf:x: 5 images in 2 classes (smallest: dog, 1), 2 evaluation images without a label; 2 for probing, "
        "3 for evaluation."
    )


def test_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="could not be read"):
        datasets.load(f"hf:{tmp_path / 'empty'}")
    for spec in ("hf:", "hf:?label=x"):
        with pytest.raises(UserError, match="needs the name of a data set"):
            datasets.load(spec)


def encoded(number: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    picture(number).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def with_rows(path: Path, *cells: dict[str, Any]) -> Path:
    """Save a set whose rows are stored as they are, as in a table that somebody else has written."""
    raw = {"bytes": hf.Value("binary"), "path": hf.Value("string")}
    names = hf.ClassLabel(names=["cat", "dog"])
    columns = {"image": list(cells), "label": [number % 2 for number in range(len(cells))]}
    hf.Dataset.from_dict(columns, features=hf.Features({"image": raw, "label": names})).save_to_disk(str(path))
    change(path / "dataset_info.json", features={"image": {"_type": "Image"}, "label": names_json("cat", "dog")})
    return path


def names_json(*names: str) -> dict[str, Any]:
    return {"_type": "ClassLabel", "names": list(names)}


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_rows_name_files_of_their_own_folder_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(200).save(tmp_path / "mine.png")
    outside = ["../mine.png", str(tmp_path / "mine.png"), "link.png", "a\0b", "loop.png"]
    absent = ["mine.png", "http://127.0.0.1:9/a.png", "x" * 5000, "~/mine.png", "."]
    paths = ["inside.png", *outside, *absent, None, ""]
    root = with_rows(tmp_path / "set", encoded(7), *({"bytes": None, "path": path} for path in paths))
    picture(8).save(root / "inside.png")
    (root / "link.png").symlink_to("../mine.png")
    (root / "loop.png").symlink_to("loop.png")
    images = datasets.load(f"hf:{root}")
    assert [images.open(number).getpixel((0, 0))[0] for number in (0, 1)] == [7, 8]
    reasons = list(images.contents.unreadable.values())
    assert reasons[:5] == ["the row names a file outside of the data set"] * 5
    assert len(reasons) == len(outside) + len(absent) + 2
    assert reasons[-2:] == ["the row has neither bytes nor a path"] * 2
    for number in range(2, len(images)):
        with pytest.raises(BrokenImageError):
            images.open(number)


def test_rows_of_a_downloaded_set_name_its_downloads_only(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("datasets--me--pets", "datasets--other--secret", "models--me--pets"):
        (tmp_path / name).mkdir()
        picture(1).save(tmp_path / name / "a.png")
    folders = folders_of_downloaded("me/pets")
    assert path_of_row(str(tmp_path / "datasets--me--pets" / "a.png"), folders).is_file()
    for name in ("datasets--other--secret", "models--me--pets"):
        with pytest.raises(OSError, match="outside of the data set"):
            path_of_row(str(tmp_path / name / "a.png"), folders)


def test_snapshots_of_the_hub_are_links_to_files_beside_them(tmp_path):
    stored = usual(tmp_path / "datasets--me--pets" / "blobs", "train")
    snapshot = tmp_path / "datasets--me--pets" / "snapshots" / "abc"
    for file in sorted(stored.rglob("*.*")):
        link = snapshot / file.relative_to(stored)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    assert len(datasets.load(f"hf:{snapshot}")) == 4


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("file", "values", "sentence"),
    [
        ("state.json", {"_data_files": [{"filename": "../other/data-00000-of-00001.arrow"}]}, "outside of its folder"),
        ("state.json", {"_data_files": [{"filename": "/etc/passwd"}]}, "outside of its folder"),
        ("state.json", {"_data_files": [{"filename": "pipe"}]}, "not a regular file"),
        ("state.json", {"_data_files": [{"filename": 3}]}, "invalid name of a file"),
        ("state.json", {"_data_files": [{"filename": "x" * 100_000}]}, "File name too long"),
        ("state.json", {"_data_files": None}, "no list '_data_files'"),
        ("state.json", {"_format_columns": ["label"]}, None),
        ("state.json", {"_format_type": "x" * 100_000}, "could not be read"),
        ("dataset_info.json", {"features": {"image": {"_type": "Image"}, "label": names_json("cat")}}, "label 1"),
        ("dataset_info.json", {"features": []}, "could not be read"),
    ],
)  # fmt: skip
def test_descriptions_that_somebody_else_has_written(tmp_path, file, values, sentence):
    with_rows(tmp_path / "other", encoded(1), encoded(2))
    root = with_rows(tmp_path / "set", encoded(1), encoded(2))
    os.mkfifo(root / "pipe")
    change(root / file, **values)
    if sentence is None:
        images = datasets.load(f"hf:{root}")
        assert len(images.contents.unreadable) == 2
        return
    with pytest.raises(UserError, match=sentence) as refused:
        datasets.load(f"hf:{root}")
    assert len(str(refused.value)) < 450


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 100_000, '{"splits": ["../other"]}', '{"splits": 3}', '{"splits": [3]}']
)
def test_lists_of_splits_that_somebody_else_has_written(tmp_path, text):
    with_rows(tmp_path / "other", encoded(1), encoded(2))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset_dict.json").write_text(text)
    with pytest.raises(UserError, match="cannot be read: "):
        datasets.load(f"hf:{tmp_path / 'set'}")
