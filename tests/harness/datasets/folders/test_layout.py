"""Layouts of image folders that the field uses: read as their authors meant them, or refused in one sentence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from image_folders import make_folder, names
from PIL import Image

from harness import datasets
from harness.datasets.folders.layout import recognise
from harness.datasets.folders.tree import Folder
from harness.datasets.summary import describe
from methods.errors import UserError


def load(root: Path, *layout: str) -> datasets.ImageSet:
    """Load a folder with two images in each of the named sub-folders; one that ends with ``=`` stays empty."""
    make_folder(root, {name.rstrip("="): 0 if name.endswith("=") else 2 for name in layout})
    return datasets.load(f"folder:{root}")


def split_of(images: datasets.ImageSet) -> tuple[set[str], set[str]]:
    """Return the folders of the probing and of the evaluation images."""
    probing, evaluation = images.split(evaluation=0.5)
    return tuple({name.rpartition("/")[0] for name in names(part)} for part in (probing, evaluation))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("train", "other"),
    [
        ("train", "val"),
        ("train", "test"),
        ("Train", "Val"),
        ("TRAIN", "TEST"),
        ("training", "validation"),
        ("train", "valid"),
        ("train", "dev"),
        ("training_set", "test_set"),
        ("trainset", "testset"),
        ("train2017", "val2017"),
        ("TrainImages", "TestImages"),
        ("train_data", "eval"),
        ("seg_train", "seg_test"),
        ("imagenet-train", "imagenet-val"),
        ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
    ],
)
def test_two_splits_in_any_spelling_are_a_predefined_split(tmp_path, train, other):
    images = load(tmp_path, f"{train}/cat", f"{train}/dog", f"{other}/cat", f"{other}/dog")
    assert images.classes == ("cat", "dog")
    assert split_of(images) == ({f"{train}/cat", f"{train}/dog"}, {f"{other}/cat", f"{other}/dog"})
    assert images.notes == () and not images.skipped


@pytest.mark.parametrize(
    ("layout", "used", "left_out"),
    [
        ("train val test", "train/ and val/", "test/"),
        ("Train Valid Test", "Train/ and Valid/", "Test/"),
        ("train val unlabeled", "train/ and val/", "unlabeled/"),
        ("train val train_small", "train/ and val/", "train_small/"),
        ("train test corrupted", "train/ and test/", "corrupted/"),
    ],
)
def test_a_third_split_is_named_and_left_out(tmp_path, layout, used, left_out):
    images = load(tmp_path, *(f"{part}/{label}" for part in layout.split() for label in ("cat", "dog")))
    assert len(images) == 8 and images.notes == (f"Left out: {left_out}. Used: {used}.",)
    assert f"  {images.notes[0]}" in describe(images.split(evaluation=1))


def test_an_unlabelled_test_split_is_left_out(tmp_path):
    images = load(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog", "test")
    assert len(images) == 8 and images.notes == ("Left out: test/. Used: train/ and val/.",)


@pytest.mark.parametrize(
    ("layout", "parts"),
    [
        ("train/images/a train/images/b val/images/a val/images/b", ("train/images", "val/images")),
        ("images/train/a images/train/b images/val/a images/val/b", ("images/train", "images/val")),
        ("data/training/a data/training/b data/testing/a data/testing/b", ("data/training", "data/testing")),
        ("seg_train/seg_train/a seg_train/seg_train/b seg_test/seg_test/a seg_test/seg_test/b seg_pred/seg_pred",
         ("seg_train/seg_train", "seg_test/seg_test")),
    ],
)  # fmt: skip
def test_folders_that_only_wrap_the_classes_are_no_classes(tmp_path, layout, parts):
    images = load(tmp_path, *layout.split())
    assert images.classes == ("a", "b")
    assert split_of(images) == tuple({f"{part}/a", f"{part}/b"} for part in parts)


@pytest.mark.parametrize(
    "layout",
    ["images/a images/b masks/a masks/b", "train/images/a train/images/b train/labels val/images/a val/images/b"],
)
def test_masks_beside_the_images_are_no_classes(tmp_path, layout):
    images = load(tmp_path, *layout.split())
    assert images.classes == ("a", "b") and not any("masks" in name or "labels" in name for name in names(images))
    assert len(images.notes) == 1 and images.notes[0].startswith("Left out: ")


def test_images_beside_metadata_are_the_classes_as_in_cub(tmp_path):
    (tmp_path / "attributes").mkdir()
    (tmp_path / "attributes" / "certainties.txt").write_text("1 guessing")
    images = load(tmp_path, "images/001.Albatross", "images/002.Auk")
    assert images.classes == ("001.Albatross", "002.Auk") and images.predefined_split is None


@pytest.mark.parametrize("layout", ["train bus car", "test boat", "train/freight=  train bus", "val bus car train="])
def test_a_class_may_have_the_name_of_a_split(tmp_path, layout):
    images = load(tmp_path, *layout.split())
    assert images.predefined_split is None
    assert set(images.classes) == {name for name in layout.split() if "/" not in name and "=" not in name}


@pytest.mark.parametrize("split", ["train", "val", "Test"])
def test_one_split_alone_is_divided_like_any_set(tmp_path, split):
    images = load(tmp_path, f"{split}/cat", f"{split}/dog")
    assert images.classes == ("cat", "dog") and images.predefined_split is None
    assert images.notes == (f"{split}/ is the only split with class folders: a part of it is held out for evaluation.",)


AMBIGUOUS = {
    "two validation splits": ("train/a train/b val/a val/b validation/a validation/b", "val and validation are all"),
    "two spellings of train": ("train/a train/b Train/a Train/b val/a val/b", "Train and train are all"),
    "no training split": ("val/a val/b test/a test/b", "but no training split"),
    "classes beside one split": ("train/steam train/electric bus car", r"beside it bus/ and car/"),
    "classes beside the splits": ("train/a train/b val/a val/b a b", r"beside it a/ and b/"),
    "flat splits": ("train test", "test/ and train/ in .* hold images, but no class folders"),
    "flat splits beside classes": ("train test bus", "hold images, but no class folders"),
    "one flat split": ("train", "train/ in .* holds images, but no class folders"),
    "unlabelled test split": ("train/a train/b test", r"test/ in .* no class folders.*folder:PATH/train alone"),
    "unlabelled validation split": ("train/a train/b val test/a test/b", "val/ in .* no class folders"),
    "detection data": ("train/images val/images", "hold images, but no class folders"),
    "segmentation data": ("images masks", "images/ and masks/ in .* hold images, but no class folders"),
    "splits inside classes": ("cat/train cat/test dog/train dog/test", "lie inside its classes"),
    "domains": ("art/a art/b art/c photo/a photo/b photo/c", "hold the same sub-folders"),
    "folds": ("fold1/a fold1/b fold2/a fold2/b", "hold the same sub-folders"),
    "one folder around the classes": ("101_ObjectCategories/a 101_ObjectCategories/b", "give folder:PATH/101_Obj"),
    "empty validation split": ("train/a train/b val/a= val/b=", "no images in the class sub-folders of .*val/"),
    "two folders around the classes": ("food/images/a food/images/b", "give folder:PATH/food/images;"),
    "Places365: classes sorted by letter": ("train/a/abbey train/b/bar val/a/abbey val/b/bar", "by their first letter"),
    "SUN397: classes sorted by letter": ("a/abbey a/airport b/bar", r"by their first letter \(a/abbey\)"),
    "Places365: flat val beside folders": ("data_large/a data_large/b val_large", "give folder:PATH/data_large;"),
    "flat test beside wrapped splits": ("x/x/train/a x/x/train/b x/x/val/a x/x/val/b test/test", "folder:PATH/x/x;"),
    "the classes once more inside": ("yes no all/yes all/no", "all/ in .* holds folders with the names of those"),
    "Office-31: domains": ("dslr/images/a dslr/images/b webcam/images/a webcam/images/b", "hold the same sub-folders"),
    "splits of single classes": ("cat_train cat_test dog_train dog_test", "no class folders"),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_with_a_remedy(tmp_path, case):
    layout, sentence = AMBIGUOUS[case]
    with pytest.raises(UserError, match=sentence) as caught:
        load(tmp_path, *layout.split())
    assert "\n" not in str(caught.value)


def test_classes_with_equal_sub_folders_are_classes_if_they_are_more(tmp_path):
    images = load(tmp_path, *(f"{label}/{time}" for label in ("cat", "dog", "fox") for time in ("day", "night")))
    assert images.classes == ("cat", "dog", "fox") and len(images) == 12
    assert images.notes == (
        "Folders inside class folders are no classes of their own: day and night in cat/ and 2 more.",
    )


def test_splits_below_two_folders_are_found(tmp_path):
    images = load(tmp_path, "cars/cars/train/a", "cars/cars/train/b", "cars/cars/test/a", "cars/cars/test/b")
    assert images.classes == ("a", "b") and images.predefined_split is not None


def tiny_imagenet(root: Path, annotations: str) -> Path:
    make_folder(root, {"train/n01/images": 3, "train/n02/images": 3, "val/images": 0, "test/images": 2})
    for name in ("val_0.JPEG", "val_1.JPEG"):
        Image.new("RGB", (8, 8)).save(root / "val" / "images" / name, format="JPEG")
    (root / "train" / "n01" / "n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t1\t1")
    (root / "val" / "val_annotations.txt").write_text(annotations)
    return root


def test_tiny_imagenet_takes_its_labels_from_the_annotations(tmp_path):
    root = tiny_imagenet(tmp_path, "val_0.JPEG\tn02\t0\t0\t9\t9\r\nval_1.JPEG\tn01\t0\t0\t9\t9\r\n\r\n")
    images = datasets.load(f"folder:{root}")
    assert images.classes == ("n01", "n02") and len(images) == 8
    assert "Left out: test/. Used: train/ and val/." in images.notes
    evaluation = images.split(evaluation=1).evaluation
    assert names(evaluation) == ["val/images/val_0.JPEG", "val/images/val_1.JPEG"]
    assert evaluation.labels.tolist() == [1, 0]


def test_unicode_forms_of_file_names_in_annotations_are_one_name(tmp_path):
    root = tiny_imagenet(tmp_path, "caf\u00e9.JPEG\tn02\nval_1.JPEG\tn01\n")
    (root / "val" / "images" / "val_0.JPEG").rename(root / "val" / "images" / "cafe\u0301.JPEG")
    assert datasets.load(f"folder:{root}").split(evaluation=1).evaluation.labels.tolist() == [1, 0]


def test_imagenet_has_splits_in_any_spelling(tmp_path):
    from harness.datasets.imagenet import absent_splits

    load(tmp_path, "Train/n01", "Train/n02", "validation/n01", "validation/n02")
    images = datasets.load(f"imagenet:{tmp_path}")
    assert images.name == "imagenet" and images.predefined_split is not None
    assert absent_splits(str(tmp_path)) == [] and absent_splits(str(tmp_path / "Train")) == ["train", "val"]


def test_images_and_lines_of_tiny_imagenet_without_each_other_are_counted(tmp_path):
    root = tiny_imagenet(tmp_path, "val_0.JPEG\tn02\nval_7.JPEG\tn01\n")
    assert datasets.load(f"folder:{root}").skipped == {
        "val/images/val_1.JPEG": "val_annotations.txt has no line for it",
        "val/val_7.JPEG": "val_annotations.txt lists it, but there is no such image",
    }


@pytest.mark.parametrize(
    ("annotations", "sentence"),
    [
        ("val_0.JPEG\tn02\nval_1.JPEG n01\n", r"Line 2 of 'val_annotations.txt' is 'val_1.JPEG n01'"),
        ("val_0.JPEG\t\n", "Line 1"),
        ("val_0.JPEG\tn02\nval_0.JPEG\tn01\n", "the class 'n01', and an earlier line 'n02'"),
        ("val_8.JPEG\tn02\n", "no images that can be read .*val/"),
        ("", "no images that can be read .*val/: 2 skipped"),
    ],
)
def test_malformed_annotations_are_an_error(tmp_path, annotations, sentence):
    with pytest.raises(UserError, match=sentence):
        datasets.load(f"folder:{tiny_imagenet(tmp_path, annotations)}")


def test_annotations_in_another_encoding_are_an_error(tmp_path):
    root = tiny_imagenet(tmp_path, "")
    (root / "val" / "val_annotations.txt").write_bytes("val_0.JPEG\tn02".encode("utf-16"))
    with pytest.raises(UserError, match="must be UTF-8 text"):
        datasets.load(f"folder:{root}")


def test_annotations_beside_class_folders_that_still_have_images_are_refused(tmp_path):
    root = tiny_imagenet(tmp_path, "val_0.JPEG\tn02\n")
    make_folder(root, {"val/n01": 1})
    with pytest.raises(UserError, match=r"val_annotations\.txt may label, and also"):
        datasets.load(f"folder:{root}")


def test_names_of_any_kind_give_a_layout_or_one_sentence(tmp_path):
    """Random trees of split words, class words and wrappers: no other exception, and no image read twice."""
    draw = random.Random(0)
    words = ["train", "Test", "val", "cat", "dog", "images", "bus", "extra", "x_train", "x_val"]
    for number in range(60):
        paths = {"/".join(draw.choices(words, k=draw.randint(1, 3))) for _ in range(draw.randint(1, 6))}
        root = make_folder(tmp_path / str(number), dict.fromkeys(paths, 1))
        try:
            images = datasets.load(f"folder:{root}")
        except UserError as error:
            assert "\n" not in str(error) and str(error).endswith((".", ")."))
        else:
            assert len(set(names(images))) == len(images) > 0
            assert recognise(Folder(root), "x").parts


def test_a_link_to_above_is_not_followed_by_the_search(tmp_path):
    make_folder(tmp_path, {"cat": 1, "empty": 0})
    (tmp_path / "empty" / "loop").symlink_to(tmp_path / "empty")
    (tmp_path / "empty" / "up").symlink_to(tmp_path)
    assert datasets.load(f"folder:{tmp_path}").classes[0] == "cat"
