"""Hierarchy of classes that are WordNet ids (ImageNet, Tiny-ImageNet), from WordNet 3.0's file of nouns.

A WordNet id such as ``n02084071`` is the byte offset of its line in ``data.noun`` of WordNet 3.0, so no index is needed
and only the lines of the classes and of what is above them are read. Other versions have other offsets and are refused.
The file is in Debian's package ``wordnet-base`` (the folder ``/usr/share/wordnet``), under the WordNet 3.0 licence.

Format: WordNet's manual page wndb(5WN), "Data File Format".
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from harness.datasets import files
from harness.datasets.hierarchy import ClassHierarchy
from methods.errors import UserError

#: Environment variable with the path of the folder of data.noun, or of the file.
VARIABLE = "HARNESS_WORDNET"
FILE = "data.noun"
REMEDY = f"Set {VARIABLE}=PATH to the folder with {FILE} of WordNet 3.0 (Debian's package wordnet-base), or unset it."
#: Bytes of the longest line; WordNet's has 13 kB.
_LONGEST_LINE = 1 << 16
#: Most steps from a noun to the root; WordNet 3.0 has at most 18.
_MOST_STEPS = 64


class Noun(NamedTuple):
    """Noun of WordNet. ``above`` is the id of its first hypernym, empty for the root."""

    word: str
    above: str


def hierarchy_of(classes: Sequence[str], path: str | None = None) -> ClassHierarchy | None:
    """Return the hierarchy of classes that are WordNet ids; None without a path.

    A noun with several hypernyms is below the first of them, which makes WordNet's graph a tree. Parents with a single
    child are left out, and so is one above all classes: they group nothing. A class above other classes is below a
    parent of its own id, with them. The name of a parent is its first word and its id (``dog (n02084071)``).

    Args:
        path: folder of data.noun, or the file; by default, the environment variable ``HARNESS_WORDNET``.

    Raises:
        UserError: if the file cannot be read or is of another version, or the classes have no hierarchy.
    """
    path = os.environ.get(VARIABLE, "") if path is None else path
    if not path:
        return None
    file = Path(path).expanduser()
    file = file / FILE if file.is_dir() else file
    nouns: dict[str, Noun] = {}
    try:
        with files.open_regular(file) as opened:
            lines = [_above(name, opened, nouns) for name in classes]
    except OSError as error:
        raise UserError(f"WordNet's {str(file)!r} cannot be read: {error.strerror or error}. {REMEDY}") from error
    parents = {wordnet_id for line in lines for wordnet_id in line}
    chains = [
        [name, name, *line] if name in parents else [name, *line] for name, line in zip(classes, lines, strict=True)
    ]
    return _tree(chains, nouns)


def _tree(chains: Sequence[Sequence[str]], nouns: dict[str, Noun]) -> ClassHierarchy:
    """Return the tree of the chains (class, parent, its parent, ..., root) without parents that group nothing."""
    # A class and the parent of the same id are different nodes, so depth 0 is part of a branch.
    branches = {
        (depth == 0, child, parent)
        for chain in chains
        for depth, (child, parent) in enumerate(itertools.pairwise(chain))
    }
    n_children = Counter(parent for _, _, parent in branches)
    n_below = Counter(parent for chain in chains for parent in chain[1:])
    kept = {parent for parent, count in n_children.items() if count > 1 and n_below[parent] < len(chains)}
    parent_of: dict[str, str] = {}
    for name, *line in chains:
        child = name
        for parent in (f"{nouns[each].word} ({each})" for each in line if each in kept):
            parent_of[child] = parent
            child = parent
    return ClassHierarchy.from_pairs([name for name, *_ in chains], parent_of)


def _above(name: str, opened: BinaryIO, nouns: dict[str, Noun]) -> list[str]:
    """Return the ids above a class, the nearest first."""
    above: list[str] = []
    wordnet_id = name
    while True:
        if wordnet_id not in nouns:
            nouns[wordnet_id] = _read(wordnet_id, opened)
        wordnet_id = nouns[wordnet_id].above
        if not wordnet_id:
            return above
        above.append(wordnet_id)
        if len(above) > _MOST_STEPS:
            raise _damaged(name, opened)


def _read(wordnet_id: str, opened: BinaryIO) -> Noun:
    """Read the line of a noun: offset, file, type, number of words, words, number of pointers, pointers."""
    opened.seek(int(wordnet_id[1:]))
    fields = opened.readline(_LONGEST_LINE).decode("ascii", "replace").partition("|")[0].split()
    try:
        n_words = int(fields[3], 16)
        start = 5 + 2 * n_words
        pointers = [fields[start + 4 * number : start + 4 * number + 4] for number in range(int(fields[start - 1]))]
        above = [f"n{offset}" for symbol, offset, part, _ in pointers if symbol in ("@", "@i") and part == "n"]
        valid = fields[0] == wordnet_id[1:] and fields[2] == "n" and n_words > 0
        valid = valid and all(len(each) == 9 and each[1:].isdecimal() for each in above)
    except (IndexError, ValueError):
        valid = False
    if not valid:
        raise _damaged(wordnet_id, opened)
    return Noun(fields[4].replace("_", " "), next(iter(above), ""))


def _damaged(wordnet_id: str, opened: BinaryIO) -> UserError:
    return UserError(
        f"{opened.name!r} has no noun with the id {wordnet_id}, so it is not the file of WordNet 3.0, or the class is "
        f"no WordNet id. {REMEDY}"
    )
