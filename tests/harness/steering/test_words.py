"""Similarity of texts by their words in common."""

from __future__ import annotations

import numpy as np
import pytest
from hostile_texts import hostile_texts
from hypothesis import given
from hypothesis import strategies as st

from harness.steering import words
from harness.steering.words import WordMatcher, alternatives_of, words_of


def similarity(concept: str, label: str) -> float:
    return float(WordMatcher().similarity([concept], [label])[0, 0])


@pytest.mark.parametrize(
    ("concept", "label", "expected"),
    [
        ("cat", "cat", 1),
        ("cat", "Cats", 1),
        ("cat", "tabby, tabby cat", 2 / 3),
        ("tabby", "tabby, tabby cat", 1),
        ("tabby cat", "tabby, tabby cat", 1),
        ("cat", "black cat on a red sofa", 2 / 6),  # black, cat, on, red, sofa
        ("cat", "catamaran", 0),
        ("cat", "caterpillar", 0),
        ("the cat", "a cat", 1),
        ("golden retriever", "golden_retriever", 1),
        ("retriever, golden", "golden retriever", 1),
        ("mouse", "computer mice; rodent", 2 / 3),
        ("cafe", "Café", 1),
        ("ÉCLAIR", "e\u0301clairs", 1),
        ("strasse", "STRASSE, Straße", 1),
        ("fishermens", "x", 0),
        ("dog's", "dogs", 1),
        ("dog\N{RIGHT SINGLE QUOTATION MARK}s house", "dogs' house", 1),
        ("T-shirt", "t shirts", 1),
        ("ﬁsh", "fish", 1),
        ("🐶", "🐶\ufe0f dog", 2 / 3),
        ("👍🏽", "👍", 1),
        ("हिन्दी", "हिन्दी", 1),
        ("犬、猫", "猫", 1),
        ("", "", 0),
        ("", "cat", 0),
        ("...", "...", 0),
        ("\x00\x1b", "cat", 0),
        ("the", "the", 1),
        ("cat\x00dog", "dog cat", 1),
    ],
)
def test_closed_forms(concept: str, label: str, expected: float) -> None:
    assert similarity(concept, label) == pytest.approx(expected, abs=1e-7)
    assert similarity(label, concept) == pytest.approx(expected, abs=1e-7)


def test_whole_words_come_before_parts_of_phrases() -> None:
    labels = ["catamaran", "cat flap", "cat", "big wild cat", "dog"]
    [row] = WordMatcher().similarity(["cat"], labels)
    assert [labels[index] for index in np.argsort(-row, kind="stable")][:3] == ["cat", "cat flap", "big wild cat"]


texts = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from(["cat", "dogs", "red,", "the", "house;", "🐶", "_", "é"]), max_size=5).map(" ".join),
)


def brute_force(concept: str, label: str) -> float:
    pairs = [(a, b) for a in alternatives_of(concept) for b in alternatives_of(label)]
    return max((2 * len(a & b) / (len(a) + len(b)) for a, b in pairs), default=0.0)


@given(st.lists(texts, max_size=6), st.lists(texts, max_size=8))
def test_the_same_as_pair_by_pair(concepts: list[str], labels: list[str]) -> None:
    result = WordMatcher().similarity(concepts, labels)
    assert result.shape == (len(concepts), len(labels)) and result.dtype == np.float32
    expected = [[brute_force(concept, label) for label in labels] for concept in concepts]
    np.testing.assert_allclose(result, np.reshape(expected, result.shape), atol=1e-6)
    assert ((result >= 0) & (result <= 1)).all()


@given(texts)
def test_a_text_equals_itself_if_it_has_a_word(text: str) -> None:
    assert similarity(text, text) == (1 if words_of(text) else 0)


@given(st.lists(texts, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_order_and_repetition_of_labels_do_not_matter(labels: list[str], random) -> None:
    matcher = WordMatcher()
    result = matcher.similarity(["cat dog", "red"], labels)
    order = [random.randrange(len(labels)) for _ in range(12)]
    np.testing.assert_array_equal(matcher.similarity(["cat dog", "red"], [labels[i] for i in order]), result[:, order])


def test_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [f"{first} {second}, red {first}" for first in ("cat", "dog", "house") for second in range(20)]
    concepts = ["cat, dog", "red", "house 3", "nothing", ""]
    expected = WordMatcher().similarity(concepts, labels)
    monkeypatch.setattr(words, "_MOST_PAIRS", 7)
    np.testing.assert_array_equal(WordMatcher().similarity(concepts, labels), expected)
    assert (expected[:3] > 0).any(axis=1).all() and not expected[3:].any()


def test_hostile_texts() -> None:
    labels = [*hostile_texts(300), "cat " * 2500, "cat," * 5000, "a" * 10_000_000, "\ud800", "e" + "\u0301" * 9000]
    result = WordMatcher().similarity(["cat", *labels[:50]], labels)
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1
    assert result[0, 300] == result[0, 301] == 1


def test_no_concepts_and_no_labels() -> None:
    assert WordMatcher().similarity([], ["cat"]).shape == (0, 1)
    assert WordMatcher().similarity(["cat"], []).shape == (1, 0)


def test_the_identity_is_pinned() -> None:
    """A change of the similarity needs a new version."""
    assert WordMatcher().id == "words@1" and WordMatcher().threshold == 0
