"""Class hierarchies: what is valid, the classes below each parent, and the identity of a set, which stays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import make_folder

from harness import datasets
from harness.datasets.hierarchy import ClassHierarchy, HierarchyError
from harness.datasets.summary import describe
from methods.errors import UserError

PETS = ("beagle", "boxer", "manx", "siamese", "rock")
PAIRS = {"beagle": "dog", "boxer": "dog", "manx": "cat", "siamese": "cat", "dog": "mammal", "cat": "mammal"}


def pets() -> ClassHierarchy:
    return ClassHierarchy.from_pairs(PETS, PAIRS)


def test_a_small_hierarchy_in_closed_form() -> None:
    hierarchy = pets()
    assert hierarchy.parents == ("cat", "dog", "mammal")
    assert hierarchy.parent_of == (1, 1, 0, 0, -1) and hierarchy.above == (2, 2, -1)
    assert hierarchy.members.tolist() == [
        [False, False, True, True, False],
        [True, True, False, False, False],
        [True, True, True, True, False],
    ]
    assert hierarchy.n_children.tolist() == [2, 2, 2] and hierarchy.n_levels == 3
    assert hierarchy.parent_labels(np.array([4, 0, -1, 3])).tolist() == [-1, 1, -1, 0]
    assert hierarchy.summary() == "3 parents above 4 of 5 classes, 3 levels."


def test_two_levels_have_two_levels() -> None:
    two = ClassHierarchy(("cat", "dog"), (1, 1, 0, 0), (-1, -1))
    assert two.n_levels == 2 and two.members.sum(axis=1).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("parents", "parent_of", "above", "message"),
    [
        (("a", "a"), (0, 0, 1, 1), (-1, -1), "different names"),
        (("a", ""), (0, 0, 1, 1), (-1, -1), "none of them empty"),
        (("a", "b"), (0, 0, 1, 2), (-1, -1), "-1 to 1"),
        (("a", "b"), (0, 0, 1, -2), (-1, -1), "-1 to 1"),
        (("a", "b"), (0, 0, 1, 1), (-1,), "-1 to 1"),
        (("a", "b"), (0, 0, 1, 1), (1, 0), "'[ab]' is below itself"),
        (("a", "b"), (0, 0, 1, 1), (0, -1), "'a' is below itself"),
        (("x", "a", "b"), (1, 1, 2, 2), (1, 2, 1), "'[ab]' is below itself"),
        (("a", "b", "c"), (0, 0, 1, 1), (-1, -1, -1), "'c' has no class below it"),
        (("a", "b"), (0, 0, 1), (-1, -1), "1 parent with at least 2 children"),
        (("a",), (0, 0, 0), (-1,), "at least 2 are needed"),
        ((), (-1, -1), (), "0 parents"),
    ],
)
def test_an_invalid_hierarchy_is_one_sentence(
    parents: tuple[str, ...], parent_of: tuple[int, ...], above: tuple[int, ...], message: str
) -> None:
    with pytest.raises(HierarchyError, match=message) as caught:
        ClassHierarchy(parents, parent_of, above)
    assert isinstance(caught.value, UserError) and "\n" not in str(caught.value)


def test_pairs_must_be_of_classes_and_parents() -> None:
    with pytest.raises(HierarchyError, match="'poodle' is neither a class") as caught:
        ClassHierarchy.from_pairs(PETS, {**PAIRS, "poodle": "dog"})
    assert caught.value.child == "poodle"
    with pytest.raises(HierarchyError, match=r"'rock' of 'boxer' is a class.*'any rock'"):
        ClassHierarchy.from_pairs(PETS, {**PAIRS, "boxer": "rock"})
    with pytest.raises(HierarchyError, match="below itself") as caught:
        ClassHierarchy.from_pairs(PETS, {**PAIRS, "mammal": "dog"})
    assert caught.value.child in ("dog", "mammal")


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Parents of classes and of parents; a parent's parent has a higher number, so that there is no cycle."""
    n_parents = draw(st.integers(2, 6))
    above = [draw(st.sampled_from([-1, *range(index + 1, n_parents)])) for index in range(n_parents)]
    extra = draw(st.lists(st.integers(-1, n_parents - 1), max_size=12))
    # Two classes of each parent make every forest valid.
    return [*range(n_parents), *range(n_parents), *extra], above


@given(forests())
@settings(max_examples=60, deadline=None)
def test_members_and_children_agree_with_their_definition(forest: tuple[list[int], list[int]]) -> None:
    parent_of, above = forest
    parents = tuple(f"p{index}" for index in range(len(above)))
    hierarchy = ClassHierarchy(parents, tuple(parent_of), tuple(above))

    def is_below(node: int, parent: int) -> bool:
        return node == parent or (node >= 0 and is_below(above[node], parent))

    expected = [[child >= 0 and is_below(child, parent) for child in parent_of] for parent in range(len(above))]
    assert hierarchy.members.tolist() == expected
    assert hierarchy.n_children.tolist() == [parent_of.count(p) + above.count(p) for p in range(len(above))]
    names = {f"c{i}": parents[p] for i, p in enumerate(parent_of) if p >= 0}
    names |= {parents[i]: parents[p] for i, p in enumerate(above) if p >= 0}
    classes = [f"c{i}" for i in range(len(parent_of))]
    assert ClassHierarchy.from_pairs(classes, names) == hierarchy


def test_the_fingerprint_is_that_of_the_content() -> None:
    assert pets().fingerprint == pets().fingerprint == "26461eb1c915815e"
    renamed = {child: "tom" if parent == "cat" else parent for child, parent in PAIRS.items() if child != "cat"}
    others = [{**PAIRS, "rock": "mammal"}, {**PAIRS, "boxer": "cat", "manx": "dog"}, renamed]
    prints = {ClassHierarchy.from_pairs(PETS, pairs).fingerprint for pairs in others}
    assert len(prints) == 3 and pets().fingerprint not in prints


def test_a_set_keeps_its_identity_and_its_subsets_keep_the_hierarchy(tmp_path) -> None:
    images = datasets.load(f"folder:{make_folder(tmp_path, dict.fromkeys(PETS, 3))}")
    assert images.classes == tuple(sorted(PETS)) and images.class_hierarchy is None
    hierarchy = ClassHierarchy.from_pairs(images.classes, PAIRS)
    grouped = dataclasses.replace(images, class_hierarchy=hierarchy)
    assert grouped.fingerprint == images.fingerprint
    split = grouped.split(evaluation=5)
    assert split.probing.class_hierarchy is hierarchy is split.evaluation.class_hierarchy
    assert grouped.subset([0, 1]).class_hierarchy is hierarchy
    assert describe(split)[1] == "  Class hierarchy: 3 parents above 4 of 5 classes, 3 levels."


def test_a_hierarchy_of_other_classes_is_refused(tmp_path) -> None:
    images = datasets.load(f"folder:{make_folder(tmp_path, {'cat': 2, 'dog': 2})}")
    with pytest.raises(UserError, match="2 classes, and its class hierarchy is of 5"):
        dataclasses.replace(images, class_hierarchy=pets())
