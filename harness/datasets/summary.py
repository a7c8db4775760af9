"""Summary of an image set, printed at the start of a run: sizes, what was skipped, and duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from harness.datasets import contents
from harness.datasets.base import DatasetSplit, ImageSet
from harness.datasets.split_names import join


class Duplicates(NamedTuple):
    """Images whose bytes are those of another image of the same set."""

    n_copies: int
    """images beyond the first of each group of equal ones"""
    leak: tuple[str, str] | None
    """a probing and an evaluation image that are equal"""
    n_leaks: int
    """evaluation images that are also probing images"""
    relabelled: tuple[str, str] | None
    """two equal images with different labels"""
    n_relabelled: int
    """groups of equal images with several labels"""
    n_unchecked: int = 0
    """images with equal size and first bytes that were not compared, because they are too large in all"""


def describe(split: DatasetSplit) -> list[str]:
    """Return one to five lines about an image set: numbers, class hierarchy, notes, skipped images, duplicates."""
    probing, evaluation = split
    hierarchy = probing.class_hierarchy
    notes = dict.fromkeys((*probing.notes, *evaluation.notes))
    return [
        _numbers(split),
        *([f"  Class hierarchy: {hierarchy.summary()}"] if hierarchy is not None else []),
        *([f"  {' '.join(notes)}"] if notes else []),
        *_skipped(probing, evaluation),
        *_duplicates(find_duplicates(split)),
    ]


def _numbers(split: DatasetSplit) -> str:
    probing, evaluation = split
    labels = np.concatenate([probing.labels, evaluation.labels])
    counts = np.bincount(labels[labels >= 0], minlength=len(probing.classes))
    present = np.flatnonzero(counts)
    name = probing.name if probing.name == evaluation.name else f"{probing.name} and {evaluation.name}"
    sentence = f"{name}: {_count(len(labels), 'image')}"
    if len(present):
        classes = _count(len(counts), "class")
        classes = classes if len(present) == len(counts) else f"{len(present)} of {classes}"
        smallest = present[counts[present].argmin()]
        sentence += f" in {classes} (smallest: {probing.classes[smallest]}, {counts[smallest]})"
    for images, name in ((probing, ""), (evaluation, "evaluation ")):
        n_unlabelled = int((images.labels < 0).sum())
        if n_unlabelled and (name or n_unlabelled < len(images)):
            sentence += f", {_count(n_unlabelled, f'{name}image')} without a label"
    return f"{sentence}; {len(probing)} for probing, {len(evaluation)} for evaluation."


def _skipped(probing: ImageSet, evaluation: ImageSet) -> Iterator[str]:
    skipped = {**probing.skipped, **probing.contents.unreadable, **evaluation.contents.unreadable}
    if skipped:
        first: dict[str, str] = {}
        for name, reason in skipped.items():
            first.setdefault(reason, name)
        groups = [f"{n} ({reason}), as {first[reason]}" for reason, n in Counter(skipped.values()).most_common()]
        yield f"  Skipped: {join(groups)}."


def _duplicates(of: Duplicates) -> Iterator[str]:
    if of.n_copies:
        sentences = [f"{_count(of.n_copies, 'image')} with the bytes of another one"]
        if of.leak is not None:
            sentences.append(
                f"{_count(of.n_leaks, 'evaluation image')} also for probing ({of.leak[1]} is {of.leak[0]}), "
                "so scores may be too good"
            )
        if of.relabelled is not None:
            sentences.append(f"{of.n_relabelled} with two labels ({' and '.join(of.relabelled)})")
        yield f"  Duplicates: {'; '.join(sentences)}."
    if of.n_unchecked:
        yield f"  {_count(of.n_unchecked, 'image')} may be duplicates (equal size and first bytes); not compared."


def find_duplicates(split: DatasetSplit) -> Duplicates:
    """Find images with equal bytes, in both parts of a split.

    Only images with equal size and equal first bytes are read, if they are below
    :data:`~harness.datasets.contents.WHOLE_CONTENT_LIMIT` in all.
    """
    keys = np.concatenate([part.contents.keys for part in split])
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    candidates = np.flatnonzero((counts[inverse] > 1) & (keys != 0))
    located = [_located(split, int(index)) for index in candidates]
    try:
        total = sum(images.reader.size(images.records[index]) for images, index in located)
        if total >= contents.WHOLE_CONTENT_LIMIT:
            return Duplicates(0, None, 0, None, 0, len(located))
        groups: dict[bytes, list[tuple[ImageSet, int]]] = {}
        for images, index in located:
            groups.setdefault(contents.hash_of(images.reader.read(images.records[index])), []).append((images, index))
    except OSError:  # a file removed since it was listed is reported when it is opened
        return Duplicates(0, None, 0, None, 0)
    return _summed(split, [group for group in groups.values() if len(group) > 1])


def _summed(split: DatasetSplit, groups: Iterable[list[tuple[ImageSet, int]]]) -> Duplicates:
    count = n_leaks = n_relabelled = 0
    leak: tuple[str, str] | None = None
    relabelled: tuple[str, str] | None = None
    for group in groups:
        count += len(group) - 1
        probing = [images.records[index] for images, index in group if images is split.probing]
        evaluation = [images.records[index] for images, index in group if images is split.evaluation]
        if probing and evaluation:
            n_leaks += len(evaluation)
            leak = leak or (probing[0].name, evaluation[0].name)
        first, *others = [*probing, *evaluation]
        other = next((record for record in others if record.label != first.label), None)
        if other is not None:
            n_relabelled += 1
            relabelled = relabelled or (first.name, other.name)
    return Duplicates(count, leak, n_leaks, relabelled, n_relabelled)


def _located(split: DatasetSplit, index: int) -> tuple[ImageSet, int]:
    n_probing = len(split.probing)
    return (split.probing, index) if index < n_probing else (split.evaluation, index - n_probing)


def _count(n: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{n} {what if n == 1 else plural}"
