"""Class names as classes of ImageNet-1k: a one-to-one assignment that is right, or none with the reason."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.data import ImageNetInfo

from harness.datasets.label_sets import IMAGENET_1K, are_wordnet_ids, match_classes

IDS = tuple(ImageNetInfo(IMAGENET_1K).label_names())
WORDS = tuple(ImageNetInfo(IMAGENET_1K).label_descriptions())
#: The class names of Hugging Face's ImageNet-1k: class names must be unique there, so the second crane has a number.
HUGGING_FACE = (*WORDS[:517], "crane2", *WORDS[518:])
IMAGENETTE = (
    "tench", "English springer", "cassette player", "chain saw", "church", "French horn", "garbage truck", "gas pump",
    "golf ball", "parachute",
)  # fmt: skip

chosen = st.permutations(range(1000)).flatmap(lambda order: st.integers(1, 1000).map(lambda count: order[:count]))


def test_the_lists_are_imagenet() -> None:
    assert (IDS[0], WORDS[0], IDS[999]) == ("n01440764", "tench, Tinca tinca", "n15075141")
    assert WORDS[134] == WORDS[517] == "crane"


@settings(max_examples=30, deadline=None)
@given(chosen)
def test_any_ids_in_any_order_are_their_classes(order: list[int]) -> None:
    assert match_classes([IDS[index] for index in order], IMAGENET_1K).indices == tuple(order)


@settings(max_examples=30, deadline=None)
@given(chosen, st.integers(0, 99_999_999))
def test_one_foreign_id_is_enough_to_be_another_label_set(order: list[int], number: int) -> None:
    foreign = f"n{number:08d}"
    names = [IDS[index] for index in order]
    if foreign in IDS:
        return
    names[len(names) // 2] = foreign
    match = match_classes(names, IMAGENET_1K)
    assert match.indices is None
    if len(names) > 1:
        assert f"{len(names) - 1} of the {len(names)} classes of the images are classes of ImageNet-1k" in match.reason
        assert f"1 is not ('{foreign}')" in match.reason


@settings(max_examples=30, deadline=None)
@given(chosen)
def test_words_are_their_classes_or_refused(order: list[int]) -> None:
    """In order and complete all are accepted. Otherwise only the two classes of one name are a reason to refuse."""
    indices = match_classes([WORDS[index] for index in order], IMAGENET_1K).indices
    assert indices is None or indices == tuple(order)
    several = [index for index in order if index not in (134, 517) and "," in WORDS[index]]
    if several:
        assert match_classes([WORDS[index] for index in several], IMAGENET_1K).indices == tuple(several)


def test_thousand_names_of_the_right_form_are_not_imagenet() -> None:
    names = [f"n{number:08d}" for number in range(1000)]
    assert are_wordnet_ids(names)
    match = match_classes(names, IMAGENET_1K)
    assert match == (None, "none of the 1000 classes of the images is one of ImageNet-1k")


def test_hugging_face_names_are_in_index_order() -> None:
    assert len(set(HUGGING_FACE)) == 1000
    assert match_classes(HUGGING_FACE, IMAGENET_1K).indices == tuple(range(1000))
    first_words = [words.split(",")[0] for words in HUGGING_FACE]
    assert match_classes(first_words, IMAGENET_1K).indices == tuple(range(1000))
    # Two names that changed places, or one of another label set: the order proves nothing any more.
    swapped = list(HUGGING_FACE)
    swapped[657], swapped[744] = swapped[744], swapped[657]
    assert match_classes(swapped, IMAGENET_1K).indices is None
    for foreign in ("walrus", "no such thing", "n99999999", ""):
        assert match_classes([*HUGGING_FACE[:-1], foreign], IMAGENET_1K).indices is None


@pytest.mark.parametrize(
    ("names", "indices"),
    [
        (["n01443537", "n01440764"], (1, 0)),
        (["N01440764"], (0,)),
        (["n01440764_tench", "n01443537-goldfish", "n01484850 great white shark"], (0, 1, 2)),
        (["000_n01440764", "1.n01443537"], (0, 1)),
        (["tench_n01440764"], (0,)),
        (["tench,_Tinca_tinca", "GOLDFISH, Carassius auratus"], (0, 1)),
        (["000_tench", "001.goldfish"], (0, 1)),
        (["potters-wheel", "POTTER'S_WHEEL"], None),
        (["potters_wheel"], (WORDS.index("potter's wheel"),)),
        # 657 is the missile and 744 the "projectile, missile": all words of each are unique.
        (["missile", "projectile, missile"], (657, 744)),
        (["missile"], None),
        (["crane"], None),
        (["maillot", "tench"], None),
        # Also the animal.
        (["mouse", "lion", "tiger"], None),
        (["lion", "tiger"], (291, 292)),
        # "hen" is three things, but not among names that were taken from the label set.
        (["hen"], None),
        (["hen", "tench, Tinca tinca"], (8, 0)),
        (["tench", "Tench"], None),
        (["n01440764", "n01440764_tench"], None),
        (["n01440764_n01443537"], None),
        (["n014407640"], None),
        (["xn01440764"], None),
        (["n01440764", "goldfish"], None),
        (["animal", "food"], None),
        ([f"{number}" for number in range(1000)], None),
        ([f"{number:03d}" for number in range(1000)], None),
        ([""], None),
        ([], None),
    ],
)
def test_spellings(names: list[str], indices: tuple[int, ...] | None) -> None:
    match = match_classes(names, IMAGENET_1K)
    assert match.indices == indices and match.reason


def test_imagenette_is_a_part_of_imagenet() -> None:
    assert match_classes(IMAGENETTE, IMAGENET_1K).indices == (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["tench", "unknown"], r"1 of the 2 classes .* 1 is not \('unknown'\)"),
        (["crane", "tench"], "'crane' may be any of 2 classes"),
        (["mouse"], "'mouse' means a class of ImageNet-1k, but also n02330245"),
        (["tench", "Tench"], "'tench' and 'Tench' are the same class"),
        (["a", "b", "c", "d", "tench"], r"4 are not \('a', 'b', 'c', \.\.\.\)"),
    ],
)
def test_the_reason_is_said(names: list[str], reason: str) -> None:
    assert re.search(reason, match_classes(names, IMAGENET_1K).reason)


def test_an_unknown_label_set_has_no_classes() -> None:
    assert match_classes(["n01440764"], "places365") == (None, "places365 is no label set whose classes are known here")
