"""The file hierarchy.csv: where it may be, what it says, and each wrong line in one sentence with its number."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import make_folder

from harness import datasets
from harness.datasets.folders.hierarchy_file import read_hierarchy
from methods.errors import UserError

CLASSES = ("beagle", "boxer", "manx", "siamese")
LINES = "class,parent\nbeagle,dog\nboxer,dog\nmanx,cat\nsiamese,cat\n"


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "hierarchy.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_the_file_beside_the_class_folders_is_the_hierarchy(tmp_path: Path) -> None:
    make_folder(tmp_path, dict.fromkeys(CLASSES, 2))
    before = datasets.load(f"folder:{tmp_path}")
    write(tmp_path, LINES)
    images = datasets.load(f"folder:{tmp_path}")
    assert before.class_hierarchy is None and images.class_hierarchy is not None
    assert images.class_hierarchy.parents == ("cat", "dog") and images.class_hierarchy.parent_of == (1, 1, 0, 0)
    assert images.fingerprint == before.fingerprint
    assert images.notes == before.notes == ()  # it is no ignored file


@pytest.mark.parametrize("where", ["", "train"])
def test_a_predefined_split_has_it_above_or_in_the_training_split(tmp_path: Path, where: str) -> None:
    make_folder(tmp_path, {f"{split}/{name}": 2 for split in ("train", "val") for name in CLASSES})
    write(tmp_path / where, LINES)
    split = datasets.load(f"folder:{tmp_path}").split(evaluation=1)
    assert split.evaluation.class_hierarchy is not None
    assert datasets.load(f"imagenet:{tmp_path}").class_hierarchy == split.evaluation.class_hierarchy


def test_two_files_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, {f"{split}/{name}": 2 for split in ("train", "val") for name in CLASSES})
    write(tmp_path, LINES)
    write(tmp_path / "val", LINES)
    with pytest.raises(UserError, match=r"hierarchy\.csv and val/hierarchy\.csv in .* keep one"):
        datasets.load(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "text",
    [
        LINES.replace("\n", "\r\n"),
        "\ufeff" + LINES,
        "Parent , CLASS\n dog,beagle\n\n,\ndog , boxer\ncat,manx\ncat,siamese",
        "class,parent,note\n" + "".join(f"{line},x\n" for line in LINES.splitlines()[1:]),
        '"class","parent"\n"beagle","dog"\nboxer,"dog"\nmanx,cat\nsiamese,cat\n',
    ],
)
def test_usual_spellings_of_a_csv_file_are_equal(tmp_path: Path, text: str) -> None:
    assert read_hierarchy(write(tmp_path, text), CLASSES) == read_hierarchy(write(tmp_path, LINES), CLASSES)


def test_more_levels_and_classes_without_a_parent(tmp_path: Path) -> None:
    file = write(tmp_path, LINES + "dog,mammal\ncat,mammal\n")
    hierarchy = read_hierarchy(file, (*CLASSES, "rock"))
    assert hierarchy.n_levels == 3 and hierarchy.parent_of[-1] == -1


def test_names_are_compared_in_the_same_unicode_form(tmp_path: Path) -> None:
    file = write(tmp_path, "class,parent\nu\u0308,x\nb,x\nc,y\nd,y\n")
    assert read_hierarchy(file, ("b", "c", "d", "\u00fc")).parent_of == (0, 1, 1, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: its first line must be class,parent"),
        ("\n\n", "is empty"),
        ("name,parent\nbeagle,dog\n", r"columns of 'hierarchy.csv' are 'name, parent'"),
        ("class,class,parent\nbeagle,x,dog\n", "once each"),
        (LINES + "boxer\n", "Line 6 .* has 1 columns, and the first line 2"),
        (LINES + "boxer,dog,3\n", "Line 6 .* has 3 columns"),
        (LINES + "boxer,\n", "Line 6 .* has the parent ''"),
        (LINES + ",dog\n", "Line 6 .* has the class ''"),
        (LINES + "boxer,d\x1b[2Jog\n", r"Line 6 .* has the parent 'd\\\\x1b\[2Jog'"),
        (LINES + "boxer," + "x" * 256 + "\n", "1 to 255 letters"),
        (LINES + "boxer,cat\n", "Line 6 .* gives 'boxer' the parent 'cat', and line 3 'dog'"),
        (LINES + "poodle,dog\n", "Line 6 .* 'poodle' is neither a class"),
        (LINES + "dog,beagle\n", "Line 6 .* 'beagle' of 'dog' is a class"),
        (LINES + "dog,dog\n", "Line 6 .* 'dog' is below itself"),
        (LINES + "dog,pet\npet,animal\nanimal,pet\n", "Line [78] .* is below itself"),
        (LINES + 'boxer,"dog\n', "Line 6 .* is no line of a CSV file"),
        ("class,parent\nbeagle,dog\nboxer,dog\n", "'hierarchy.csv' is no hierarchy of the classes: .* at least 2 are"),
        (LINES.encode() + b"\xff", "cannot be read"),
        ("class,parent\n" + "x" * 200_000 + ",dog\n", "Line 2 .* is no line of a CSV file: field larger"),
    ],
)
def test_a_wrong_file_is_one_sentence_with_the_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_hierarchy(write(tmp_path, text), CLASSES)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'hierarchy\.csv' cannot be read"):
        read_hierarchy(tmp_path / "hierarchy.csv", CLASSES)
