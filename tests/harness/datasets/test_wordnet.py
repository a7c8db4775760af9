"""Hierarchy from WordNet's file of nouns: a made-up one, a wrong one, and Debian's if it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import make_folder

from harness import datasets
from harness.datasets import wordnet
from harness.datasets.label_sets import load_label_set
from methods.errors import UserError

DEBIAN = Path("/usr/share/wordnet") / wordnet.FILE


def nouns_file(folder: Path, above: dict[str, list[str]]) -> dict[str, str]:
    """Write a file of nouns, each with its hypernyms, and return word -> WordNet id, its offset in the file."""
    header = b"  1 This software and database is being provided to you\n"

    def line(word: str, offset_of: dict[str, int]) -> bytes:
        pointers = [
            f"{'@i' if number else '@'} {offset_of[name]:08d} n 0000" for number, name in enumerate(above[word])
        ]
        pointers.append("~ 00000001 n 0000")
        text = (
            f"{offset_of[word]:08d} 05 n 02 {word} 0 {word}_too 1 {len(pointers):03d} {' '.join(pointers)} | gloss  \n"
        )
        return text.encode()

    offset_of = dict.fromkeys(above, 0)
    position = len(header)
    for word in above:  # the length of a line does not depend on the offsets, which have eight digits
        offset_of[word] = position
        position += len(line(word, dict.fromkeys(above, 0)))
    (folder / wordnet.FILE).write_bytes(header + b"".join(line(word, offset_of) for word in above))
    return {word: f"n{offset:08d}" for word, offset in offset_of.items()}


WORDS = {
    "entity": [],
    "animal": ["entity"],
    "carnivore": ["animal"],  # one child only
    "dog": ["carnivore", "pet"],
    "pet": ["animal"],
    "beagle": ["dog"],
    "boxer": ["dog"],
    "jay": ["animal"],
    "rock": ["entity"],
}
LEAVES = ("beagle", "boxer", "jay", "rock")


def test_parents_that_group_nothing_are_left_out(tmp_path: Path) -> None:
    ids = nouns_file(tmp_path, WORDS)
    hierarchy = wordnet.hierarchy_of([ids[word] for word in LEAVES], str(tmp_path))
    assert hierarchy is not None
    # entity is above all classes, and carnivore has one child.
    animal, dog = (f"{word} ({ids[word]})" for word in ("animal", "dog"))
    assert hierarchy.parents == (animal, dog)
    assert hierarchy.parent_of == (1, 1, 0, -1) and hierarchy.above == (-1, 0)
    assert wordnet.hierarchy_of([ids[word] for word in LEAVES], str(tmp_path / wordnet.FILE)) == hierarchy


def test_a_class_above_others_is_with_them_below_a_parent_of_its_id(tmp_path: Path) -> None:
    ids = nouns_file(tmp_path, WORDS)
    hierarchy = wordnet.hierarchy_of([ids[word] for word in ("beagle", "dog", "jay", "rock")], str(tmp_path))
    assert hierarchy is not None
    assert hierarchy.parents[1] == f"dog ({ids['dog']})" and hierarchy.parent_of == (1, 1, 0, -1)


def test_class_folders_with_wordnet_ids_have_it_if_the_variable_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = nouns_file(tmp_path, WORDS)
    root = make_folder(
        tmp_path / "images", {f"{split}/{ids[word]}": 1 for split in ("train", "val") for word in LEAVES}
    )
    monkeypatch.delenv(wordnet.VARIABLE, raising=False)
    assert datasets.load(f"imagenet:{root}").class_hierarchy is None
    monkeypatch.setenv(wordnet.VARIABLE, str(tmp_path))
    for spec in (f"folder:{root}", f"imagenet:{root}"):
        hierarchy = datasets.load(spec).class_hierarchy
        assert hierarchy is not None and len(hierarchy.parents) == 2
    pets = make_folder(tmp_path / "pets", {"cat": 2, "dog": 2})
    assert datasets.load(f"folder:{pets}").class_hierarchy is None
    # A file of the folder's own goes first.
    rows = [f"{ids[word]},{group}\n" for word, group in zip(LEAVES, "aabb", strict=True)]
    (root / "hierarchy.csv").write_text("class,parent\n" + "".join(rows))
    assert datasets.load(f"folder:{root}").class_hierarchy.parents == ("a", "b")  # type: ignore[union-attr]


def test_wrong_files_and_classes_are_one_sentence(tmp_path: Path) -> None:
    ids = nouns_file(tmp_path, WORDS)
    classes = [ids[word] for word in LEAVES]
    with pytest.raises(UserError, match=rf"cannot be read: No such file.*{wordnet.VARIABLE}=PATH"):
        wordnet.hierarchy_of(classes, str(tmp_path / "elsewhere"))
    other = f"n{int(classes[0][1:]) + 1:08d}"
    for wrong in (other, "n99999999", "n00000000"):
        with pytest.raises(UserError, match=f"no noun with the id {wrong}"):
            wordnet.hierarchy_of([*classes, wrong], str(tmp_path))
    data = (tmp_path / wordnet.FILE).read_bytes()
    for damaged in (data.replace(b" n 02 ", b" v 02 "), data.replace(b"@ 0", b"@ x"), data.replace(b" 002 ", b" 999 ")):
        assert damaged != data
        (tmp_path / wordnet.FILE).write_bytes(damaged)
        with pytest.raises(UserError, match="no noun with the id"):
            wordnet.hierarchy_of(classes, str(tmp_path))
    with pytest.raises(UserError, match="cannot be read"):
        (tmp_path / "folder" / wordnet.FILE).mkdir(parents=True)
        wordnet.hierarchy_of(classes, str(tmp_path / "folder"))


def test_a_noun_above_itself_ends(tmp_path: Path) -> None:
    ids = nouns_file(tmp_path, {**WORDS, "entity": ["animal"]})
    with pytest.raises(UserError, match="no noun with the id"):
        wordnet.hierarchy_of([ids[word] for word in LEAVES], str(tmp_path))


@pytest.mark.skipif(not DEBIAN.is_file(), reason="Debian's package wordnet-base is not installed")
def test_imagenets_classes_in_wordnet() -> None:
    label_set = load_label_set("imagenet-1k")
    assert label_set is not None
    hierarchy = wordnet.hierarchy_of(list(label_set.ids), str(DEBIAN.parent))
    assert hierarchy is not None and hierarchy.fingerprint == "45af65d6a03324d3"
    assert hierarchy.summary() == "371 parents above 1000 of 1000 classes, 16 levels."
    members = dict(zip(hierarchy.parents, hierarchy.members.sum(axis=1).tolist(), strict=True))
    assert members["dog (n02084071)"] == 118 and members["bird (n01503061)"] == 52
