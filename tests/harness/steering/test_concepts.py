"""Lists of concepts: the shipped ones, and files of the user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.steering import concepts
from harness.steering.concepts import CONCEPT_LISTS, read_concepts
from harness.steering.words import words_of

LIST = Path(concepts.__file__).parent / "concept_lists" / "common.txt"


def test_the_common_list_has_about_a_thousand_different_concepts() -> None:
    common = read_concepts("common")
    assert 900 <= len(common) <= 1200
    keys = [" ".join(sorted(words_of(concept))) for concept in common]
    assert len(set(keys)) == len(keys), "a concept is there twice, perhaps in the plural"
    assert all(concept.isascii() and concept == concept.strip() and len(concept) < 40 for concept in common)
    needed = (
        "dog, wheel, beak, fur, striped, dotted, red, round, blurred, close-up, drawing, kitchen, sky, person, text"
    )
    assert not set(needed.split(", ")) - set(common)


def test_the_common_list_states_title_origin_and_licence() -> None:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# Common concepts")
    assert any("Written for this project. Licence: CC0-1.0" in line for line in lines[:6])
    assert sum(line.startswith("# ") for line in lines) > 20


def test_the_class_names_of_imagenet() -> None:
    imagenet = read_concepts("imagenet")
    assert len(imagenet) == len(set(imagenet)) == 999, "two classes are called crane"
    assert imagenet[0] == "tench, Tinca tinca" and "tabby, tabby cat" in imagenet and "crane" in imagenet


def test_a_file_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeff# a comment\r\ndog\r\n\n \t red  fox \t\r#no\nÉclair\n👩\u200d🔬\n猫".encode())
    expected = ("dog", "red  fox", "Éclair", "👩\u200d🔬", "猫")
    assert read_concepts(path) == read_concepts(str(path)) == expected


def test_a_path_is_never_the_name_of_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("common").write_text("mine\n")
    assert read_concepts(Path("common")) == read_concepts("./common") == ("mine",)
    assert len(read_concepts("common")) > 900


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dog\ncat\nDOG\n", r"Line 3 of the list of concepts 'list.txt' repeats 'DOG' of line 1: remove one"),
        (b"dog\n\nca\x1bt\n", r"Line 3 .* has control characters \(ca\\x1bt\): remove them"),
        ("dog\nca\u202et\n".encode(), r"Line 2 .* has control characters"),
        ("dog\nca\u2028t\n".encode(), r"Line 2 .* has control characters"),
        (b"dog\nred\tfox\n", r"Line 2 .* has control characters"),
        (b"dog\n" + b"x" * 201, "Line 2 .* has 201 characters, and a concept has at most 200"),
        (b"dog\n\xff\xfe\n", r"is no text in UTF-8 \(line 2: invalid start byte\)"),
        ("dog\ncat\n".encode("utf-16"), r"is no text in UTF-8 \(line 1 has a null byte\)"),
        (b"PNG\n\0\0\0\n", r"is no text in UTF-8 \(line 2 has a null byte\)"),
        (b"", "has no concept"),
        (b"# only a comment\n\n", "has no concept"),
    ],
)
def test_unusable_files_name_the_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_concepts(path)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.txt"
    path.write_text("".join(f"concept {number}\n" for number in range(100_000)))
    assert len(read_concepts(path)) == 100_000
    with path.open("a") as file:
        file.write("one more\n")
    with pytest.raises(UserError, match="has 100001 lines, and at most 100000 are read: divide it"):
        read_concepts(path)
    monkeypatch.setattr(concepts, "MOST_BYTES", 10)
    with pytest.raises(UserError, match="cannot be read"):
        read_concepts(path)


def test_missing_files_folders_and_devices(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no list of concepts 'imagnet'\. Did you mean imagenet\? Available: common, imagenet"
    ):
        read_concepts("imagnet")
    with pytest.raises(UserError, match=r"no list of concepts '.*none\.txt'\. Give one of the lists common, imagenet"):
        read_concepts(tmp_path / "none.txt")
    with pytest.raises(UserError, match="is a folder"):
        read_concepts(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="cannot be read"):
        read_concepts(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "~nobody-of-this-name/x", "\x1b[2J"])
def test_impossible_paths(name: str) -> None:
    with pytest.raises(UserError) as error:
        read_concepts(name)
    assert "\x1b" not in str(error.value) and "\0" not in str(error.value)


def test_every_named_list_can_be_read() -> None:
    assert all(read_concepts(name) for name in CONCEPT_LISTS)
