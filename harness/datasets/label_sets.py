"""Published label sets (ImageNet-1k), and the class of a label set that each class name of an image set stands for.

Class names are WordNet ids (``n01440764``, ``n01440764_tench``) or words (``tench, Tinca tinca``). Ids are compared
with those of the label set. Words may be ambiguous: ``crane`` is two classes of ImageNet-1k, and ``mouse`` is one of
them, the device, but may also mean the animal. Ambiguous words are not accepted.

The lists are timm's (``timm.data.ImageNetInfo``): the ids of each label set, and the words of 21,844 WordNet ids.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

IMAGENET_1K = "imagenet-1k"

#: How a label set is called in messages.
TITLES = {IMAGENET_1K: "ImageNet-1k"}

_WORDNET_ID = re.compile(r"(?<![^\W_])n[0-9]{8}(?![^\W_])")


class LabelMatch(NamedTuple):
    """Classes of a label set for the classes of an image set, or the reason why they do not match."""

    indices: tuple[int, ...] | None
    """class of the label set for each class name, without repetitions; None if the names are not of this label set"""
    reason: str
    """how the names were read, or why they are not of this label set: a clause for messages"""


@dataclass(frozen=True)
class LabelSet:
    """Classes of a published label set in the order of its indices."""

    title: str
    ids: dict[str, int]
    """WordNet id -> index"""
    lemmas: tuple[tuple[str, ...], ...]
    """index -> the words of a class, normalised"""
    senses: dict[str, frozenset[str]]
    """word, normalised -> all WordNet ids with that word, of this label set and of others"""

    @functools.cached_property
    def candidates(self) -> dict[str, frozenset[int]]:
        """Return name, normalised -> classes that have it among their words or as all of their words."""
        return _inverted((*words, " ".join(words)) for words in self.lemmas)

    @functools.cached_property
    def full_names(self) -> dict[str, frozenset[int]]:
        """Return all words of a class, joined -> classes."""
        return _inverted((" ".join(words),) for words in self.lemmas)


def _inverted(names: Iterable[tuple[str, ...]]) -> dict[str, frozenset[int]]:
    """Return name -> positions at which it is among the names."""
    positions = defaultdict(set)
    for position, several in enumerate(names):
        for name in several:
            positions[name].add(position)
    return {name: frozenset(numbers) for name, numbers in positions.items()}


def title_of(label_set: str | None) -> str:
    """Return the name of a label set for messages."""
    return TITLES.get(label_set or "", label_set or "unknown classes")


def size_of(label_set: str) -> int | None:
    """Return the number of classes of a label set, or None if it is unknown."""
    loaded = load_label_set(label_set)
    return None if loaded is None else len(loaded.ids)


@functools.cache
def load_label_set(name: str) -> LabelSet | None:
    """Return the label set ``name``, or None if it is unknown."""
    if name not in TITLES:
        return None
    from timm.data import ImageNetInfo

    ids = {synset: index for index, synset in enumerate(ImageNetInfo(name).label_names())}
    descriptions: dict[str, str] = {}
    for subset in ("imagenet-22k", "imagenet-21k-goog", name):
        info = ImageNetInfo(subset)
        descriptions |= {synset: info.label_name_to_description(synset) for synset in info.label_names()}
    lemmas = {synset: tuple(map(_normalised, text.split(","))) for synset, text in descriptions.items()}
    senses = defaultdict(set)
    for synset, words in lemmas.items():
        for word in words:
            senses[word].add(synset)
    frozen = {word: frozenset(synsets) for word, synsets in senses.items()}
    return LabelSet(TITLES[name], ids, tuple(lemmas[synset] for synset in ids), frozen)


def are_wordnet_ids(names: Sequence[str]) -> bool:
    """Return True if all names have the form of a WordNet id: n and 8 digits."""
    return all(re.fullmatch("n[0-9]{8}", name) for name in names)


def match_classes(names: Sequence[str], label_set: str) -> LabelMatch:
    """Return the class of a label set for each of the class ``names`` of an image set.

    Either every name is assigned to a class of its own, or none is. The names are accepted if they are

    1. WordNet ids of the label set, alone or with words or a number (``n01440764-tench``), any number, in any order;
    2. the words of all classes in the order of the label set;
    3. all words of each class, for any of its classes (``tench, Tinca tinca``);
    4. one word of each class, which no other WordNet id of timm's lists has (``tench``, but not ``mouse``).

    Case, underscores, hyphens, apostrophes and a number in front (``000_tench``) are ignored. Names that only number
    the classes are not accepted, since their order is unknown.
    """
    target = load_label_set(label_set)
    if target is None:
        return LabelMatch(None, f"{label_set} is no label set whose classes are known here")
    if not names:
        return LabelMatch(None, "the images have no classes")
    ids_of_names = [_WORDNET_ID.findall(name.casefold()) for name in names]
    match = _by_ids(names, ids_of_names, target) if any(ids_of_names) else _by_words(names, target)
    if match.indices is not None and len(set(match.indices)) < len(names):
        first, second = _repeated(names, match.indices)
        return LabelMatch(None, f"{first!r} and {second!r} are the same class of {target.title}")
    return match


def _by_ids(names: Sequence[str], ids_of_names: Sequence[list[str]], target: LabelSet) -> LabelMatch:
    """Return the classes of names that contain one WordNet id each."""
    ids = [next(iter(set(ids))) if len(set(ids)) == 1 else "" for ids in ids_of_names]
    foreign = [name for name, wordnet_id in zip(names, ids, strict=True) if wordnet_id not in target.ids]
    if foreign:
        return LabelMatch(None, _foreign(foreign, len(names), target))
    return LabelMatch(tuple(target.ids[wordnet_id] for wordnet_id in ids), "by their WordNet ids")


def _by_words(names: Sequence[str], target: LabelSet) -> LabelMatch:
    """Return the classes of names that are words."""
    keys = [_key(name, target.candidates) for name in names]
    candidates = [target.candidates.get(key, frozenset()) for key in keys]
    foreign = [name for name, classes in zip(names, candidates, strict=True) if not classes]
    if foreign:
        return LabelMatch(None, _foreign(foreign, len(names), target))
    if len(names) == len(target.ids) and all(index in classes for index, classes in enumerate(candidates)):
        return LabelMatch(tuple(range(len(names))), "by their words and order")
    full = [target.full_names.get(key, frozenset()) for key in keys]
    # If all words of a class with several are given, the names were taken from the label set: a single word among them
    # is then all words of its class, and not any thing of that name.
    taken_from_the_set = all(full) and any(len(target.lemmas[index]) > 1 for classes in full for index in classes)
    for name, key, classes in zip(names, keys, full if taken_from_the_set else candidates, strict=True):
        if len(classes) > 1:
            return LabelMatch(None, f"the class {name!r} may be any of {len(classes)} classes of {target.title}")
        if not taken_from_the_set and (others := target.senses.get(key, frozenset()) - target.ids.keys()):
            meaning = f"the word {name!r} means a class of {target.title}, but also {' and '.join(sorted(others)[:2])}"
            return LabelMatch(None, f"{meaning} of WordNet")
    chosen = full if taken_from_the_set else candidates
    return LabelMatch(tuple(index for classes in chosen for index in classes), "by their words")


def _foreign(foreign: Sequence[str], total: int, target: LabelSet) -> str:
    """Return the reason for names that are not in the label set."""
    if len(foreign) == total:
        return f"none of the {total} classes of the images is one of {target.title}"
    listed = ", ".join(map(repr, foreign[:3])) + (", ..." if len(foreign) > 3 else "")
    verb = "is" if len(foreign) == 1 else "are"
    return (
        f"{total - len(foreign)} of the {total} classes of the images are classes of {target.title} and "
        f"{len(foreign)} {verb} not ({listed})"
    )


def _repeated(names: Sequence[str], index: Sequence[int]) -> tuple[str, str]:
    [(repeated, _)] = Counter(index).most_common(1)
    first, second, *_ = (name for name, number in zip(names, index, strict=True) if number == repeated)
    return first, second


def _normalised(text: str) -> str:
    """Return a text in lower case, without apostrophes, with single spaces for everything but letters and digits."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", re.sub(r"['\N{RIGHT SINGLE QUOTATION MARK}]", "", text)).split())


def _key(name: str, accepted: Container[str]) -> str:
    """Return a class name, normalised; without a number in front or behind if it is only then in ``accepted``.

    Sets whose class names must be unique number repeated words: Hugging Face's ImageNet has ``crane`` and ``crane2``.
    """
    key = _normalised(name)
    spellings = (key, re.sub(r"^\d+ ", "", key), re.sub(r" ?\d+$", "", key))
    return next((spelling for spelling in spellings if spelling in accepted), key)
