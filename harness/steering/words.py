"""Similarity of texts by their words in common, without a model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from harness.steering.matching import TextMatcher
from harness.steering.singular import singular

#: Characters of a text that are read; the rest is ignored.
MOST_CHARACTERS = 10_000
#: Most pairs of an alternative of a concept and one of a label that are compared at once.
_MOST_PAIRS = 1 << 22
#: Most alternatives of labels that are held at once.
_MOST_ROWS = 1 << 16

_ARTICLES = frozenset({"a", "an", "the"})
_APOSTROPHES = re.compile("['\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}]")
_SEPARATORS = re.compile("[,;\n\r\t\N{FULLWIDTH COMMA}\N{IDEOGRAPHIC COMMA}]")


class WordMatcher(TextMatcher):
    """Dice similarity of the word sets of the best alternatives.

    A text is a list of alternatives separated by commas or semicolons, as in ``tabby, tabby cat``; the text as a whole
    is one more. The similarity of two alternatives with the word sets A and B is ``2 |A & B| / (|A| + |B|)``, which is
    the F1 score of the one as a prediction of the other (Dice 1945). The similarity of two texts is the largest of
    their alternatives. Thus ``cat`` has similarity 2/3 to ``tabby, tabby cat`` and 0 to ``catamaran``: words match as
    a whole or not at all.

    Case, accents of Latin, Greek and Cyrillic letters, English plurals, apostrophes and articles are ignored
    (:func:`words_of`). Words of languages without spaces between words are not separated.
    """

    threshold = 0.0

    @property
    def id(self) -> str:
        return "words@1"

    def similarity(self, concepts: Sequence[str], labels: Sequence[str]) -> NDArray[np.float32]:
        texts = list(dict.fromkeys(labels))
        column = {text: index for index, text in enumerate(texts)}
        distinct = _similarity([alternatives_of(concept) for concept in concepts], texts)
        return np.ascontiguousarray(distinct[:, [column[label] for label in labels]])


def alternatives_of(text: str) -> list[frozenset[str]]:
    """Return the distinct word sets of a text's alternatives, without empty ones."""
    parts = _SEPARATORS.split(text[:MOST_CHARACTERS])
    several = [frozenset(words_of(part)) for part in parts]
    whole = [frozenset().union(*several)] if len(parts) > 1 else []
    return [words for words in dict.fromkeys([*several, *whole]) if words]


def words_of(text: str) -> list[str]:
    """Return the words of a text in their order: runs of letters, digits and marks, and single symbols such as emoji.

    Words are case-folded and in the singular, without accents and apostrophes. Articles are left out unless there is
    no other word.
    """
    plain = _APOSTROPHES.sub("", text)
    words = re.findall("[a-z0-9]+", plain.lower()) if plain.isascii() else _unicode_words(plain)
    nouns = [word for word in words if word not in _ARTICLES] or words
    return [singular(word) for word in nouns]


def _unicode_words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    letters = unicodedata.normalize("NFC", "".join(char for char in folded if not _is_ignored(char)))
    return "".join(_spaced(letters)).split()


def _is_ignored(char: str) -> bool:
    """Return True for accents, and for characters without a meaning of their own: joiners, variation selectors."""
    return (
        "\u0300" <= char <= "\u036f"
        or "\ufe00" <= char <= "\ufe0f"
        or unicodedata.category(char) in ("Cf", "Sk")  # Sk: skin tones
    )


def _spaced(text: str) -> Iterator[str]:
    """Yield the letters of words as they are, symbols between spaces, and spaces for everything else."""
    for char in text:
        category = unicodedata.category(char)
        if category[0] in "LMN":
            yield char
        else:
            yield f" {char} " if category == "So" else " "


def _similarity(concepts: Sequence[list[frozenset[str]]], labels: Sequence[str]) -> NDArray[np.float32]:
    """Return the largest Dice similarities (n_concepts, n_labels) of word sets of concepts and of distinct labels."""
    result = np.zeros((len(concepts), len(labels)), dtype=np.float32)
    sets = [words for several in concepts for words in several]
    # Words that no concept has count only in the size of a label's set.
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(word for words in sets for word in words))}
    if not vocabulary:
        return result
    rows = np.repeat(np.arange(len(concepts)), [len(several) for several in concepts])
    concept_words, concept_sizes = _incidence(sets, vocabulary)
    for start, alternatives in _blocks(labels, max(1, min(_MOST_ROWS, _MOST_PAIRS // len(sets)))):
        label_words, label_sizes = _incidence([words for several in alternatives for words in several], vocabulary)
        columns = start + np.repeat(np.arange(len(alternatives)), [len(several) for several in alternatives])
        common = (concept_words @ label_words.T).tocoo()
        first, second = common.coords
        dice = 2 * common.data / (concept_sizes[first] + label_sizes[second])
        np.maximum.at(result, (rows[first], columns[second]), dice.astype(np.float32))
    return result


def _blocks(labels: Sequence[str], most: int) -> Iterator[tuple[int, list[list[frozenset[str]]]]]:
    """Yield the position of the first label and the alternatives of consecutive labels, about ``most`` at a time."""
    block: list[list[frozenset[str]]] = []
    size = 0
    for index, label in enumerate(labels):
        block.append(alternatives_of(label))
        size += len(block[-1])
        if size >= most:
            yield index + 1 - len(block), block
            block, size = [], 0
    if block:
        yield len(labels) - len(block), block


def _incidence(sets: Iterable[frozenset[str]], vocabulary: dict[str, int]) -> tuple[csr_array, NDArray[np.float64]]:
    """Return the incidence matrix (n, words) of sets and the words of a vocabulary, and the sizes (n,) of the sets."""
    indices: list[int] = []
    starts = [0]
    sizes = []
    for words in sets:
        indices.extend(vocabulary[word] for word in words if word in vocabulary)
        starts.append(len(indices))
        sizes.append(float(len(words)))
    matrix = csr_array((np.ones(len(indices)), indices, starts), shape=(len(sizes), len(vocabulary)))
    return matrix, np.array(sizes)
