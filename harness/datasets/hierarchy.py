"""Hierarchy of the classes of an image set: parents such as ``dog`` above classes such as ``beagle`` and ``boxer``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from methods.errors import UserError

#: Smallest number of parents with that many children each: with fewer, no parent has both images of several children
#: and a sibling to be told from.
FEWEST = 2

#: For messages of whoever needs the hierarchy of a set that has none.
REMEDY = (
    "Add a file hierarchy.csv with the columns class and parent beside the class folders; for classes that are WordNet "
    "ids (ImageNet), set HARNESS_WORDNET=PATH to the folder with WordNet 3.0's data.noun; or use openmoji:PATH, "
    "clipart or stamps."
)


class HierarchyError(UserError):
    """Error of a hierarchy at one of its pairs. ``child`` names the child of that pair; empty for the whole."""

    def __init__(self, problem: str, child: str = "") -> None:
        super().__init__(problem)
        self.child = child


@dataclass(frozen=True)
class ClassHierarchy:
    """Forest of parents above the classes of an image set. Parents may have parents.

    A class has no images of another class below it: parents are groups of classes, and no classes themselves.

    Attributes:
        parents: names of the parents.
        parent_of: parent of each class, (n_classes,), an index into :attr:`parents`; -1 for a class without a parent.
        above: parent of each parent, (n_parents,), an index into :attr:`parents`; -1 for a root.

    Raises:
        HierarchyError: if two parents have one name, an index is out of range, parents form a cycle, a parent has no
            class below it, or fewer than two parents have two children each.
    """

    parents: tuple[str, ...]
    parent_of: tuple[int, ...]
    above: tuple[int, ...]

    def __post_init__(self) -> None:
        n_parents = len(self.parents)
        if len(set(self.parents)) != n_parents or "" in self.parents:
            raise HierarchyError("The parents of a class hierarchy must have different names, none of them empty.")
        if len(self.above) != n_parents or not all(-1 <= index < n_parents for index in (*self.parent_of, *self.above)):
            raise HierarchyError(
                f"The parents of a class hierarchy of {n_parents} parents must be -1 to {n_parents - 1}."
            )
        self._refuse_cycles()
        if childless := [name for name, n in zip(self.parents, self.members.sum(axis=1), strict=True) if not n]:
            raise HierarchyError(f"The parent {childless[0]!r} has no class below it: give it one, or remove it.")
        n_wide = int((self.n_children >= FEWEST).sum())
        if n_wide < FEWEST:
            raise HierarchyError(
                f"The class hierarchy has {n_wide} {'parent' if n_wide == 1 else 'parents'} with at least {FEWEST} "
                f"children, and at least {FEWEST} are needed: give more classes a parent."
            )

    def _refuse_cycles(self) -> None:
        for start in range(len(self.parents)):
            index = start
            for _ in self.parents:
                index = self.above[index] if index >= 0 else -1
            if index >= 0:  # on a cycle, after as many steps as there are parents
                name = self.parents[index]
                raise HierarchyError(f"The parent {name!r} is below itself: remove one of the pairs.", name)

    @classmethod
    def from_pairs(cls, classes: Sequence[str], parent_of: Mapping[str, str]) -> ClassHierarchy:
        """Return the hierarchy of child -> parent names; a child is a class, or the parent of others.

        Parents are sorted by name.

        Raises:
            HierarchyError: if a child is neither a class nor a parent, a parent is a class, or the result is invalid.
        """
        number = {name: index for index, name in enumerate(sorted(set(parent_of.values())))}
        names = set(classes)
        for child, parent in parent_of.items():
            if parent in names:
                raise HierarchyError(
                    f"The parent {parent!r} of {child!r} is a class with images; a parent must have another name, "
                    f"such as {'any ' + parent!r}.",
                    child,
                )
            if child not in names and child not in number:
                raise HierarchyError(f"{child!r} is neither a class of the images nor the parent of one.", child)
        return cls(
            tuple(number),
            tuple(number[parent_of[name]] if name in parent_of else -1 for name in classes),
            tuple(number[parent_of[name]] if name in parent_of else -1 for name in number),
        )

    @cached_property
    def members(self) -> np.ndarray:
        """(n_parents, n_classes) bool: classes below each parent, at any depth."""
        members = np.zeros((len(self.parents), len(self.parent_of)), bool)
        for position, parent in enumerate(self.parent_of):
            while parent >= 0:
                members[parent, position] = True
                parent = self.above[parent]
        return members

    @cached_property
    def n_children(self) -> np.ndarray:
        """(n_parents,) int64: classes and parents directly below each parent."""
        direct = np.array([index for index in (*self.parent_of, *self.above) if index >= 0], np.int64)
        return np.bincount(direct, minlength=len(self.parents))

    @property
    def n_levels(self) -> int:
        """Levels of the deepest branch, with its class: 2 if no parent has a parent."""
        depths = [0] * len(self.parents)
        for start in range(len(self.parents)):
            index = start
            while index >= 0:
                depths[start], index = depths[start] + 1, self.above[index]
        return 1 + max(depths)

    def parent_labels(self, labels: np.ndarray) -> np.ndarray:
        """Return the parent of each image's class.

        Args:
            labels: (n,) int, class of each image, -1 for an image without a label.

        Returns:
            (n,) int64, index into :attr:`parents`; -1 for an image without a label or whose class has no parent.
        """
        # The last entry is that of the label -1.
        parents: np.ndarray = np.array([*self.parent_of, -1], np.int64)[labels]
        return parents

    @property
    def fingerprint(self) -> str:
        """Identity of the hierarchy, for the parameters of a metric that reads it.

        The fingerprint of an image set does not contain it: a set keeps its identity, and all other scores, when
        somebody adds a hierarchy to it.
        """
        content = json.dumps([self.parents, self.parent_of, self.above], ensure_ascii=False)
        return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def summary(self) -> str:
        """Return one sentence: numbers of parents, classes with a parent, and levels."""
        n_placed = sum(index >= 0 for index in self.parent_of)
        return f"{len(self.parents)} parents above {n_placed} of {len(self.parent_of)} classes, {self.n_levels} levels."
