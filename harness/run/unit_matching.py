"""Matching of the units of two fits: which units are counted, their similarity, and its chance level.

Two definitions. ``FULL`` is that of the ELUDe paper, App. B.3. It counts every atom of a dictionary without parents:
also those of units that are silent on the evaluation split, those of length zero, and the surplus of the larger
dictionary. Of a split, sub-units of length zero are excluded, as in the paper. ``ALIVE`` leaves out atoms of length
zero and silent units, and does not count the surplus of dictionaries without parents.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

import methods
from harness.devices import matched_at_once
from harness.identity import seed_of
from harness.metrics.dictionary import checked_atoms, writing_directions
from harness.metrics.stability import matched_cosine, matched_cosine_by_parent
from methods.base import Method
from methods.plugin_calls import calling
from results import Store

Definition = Literal["full", "alive"]
FULL: Definition = "full"
ALIVE: Definition = "alive"


class Units(NamedTuple):
    """Counted units of one fit."""

    atoms: Tensor
    """(K, d)"""
    parents: Tensor | None = None
    """(K,) int64; None: the dictionary is matched as a whole"""


class FittedUnits(NamedTuple):
    """All units of one fit."""

    atoms: Tensor
    """(K, d)"""
    parents: Tensor | None
    """(K,) int64"""
    writers: Tensor | None
    """(K, d_out) writing directions, if the atoms are reading directions"""
    side: str
    """"reader" if ``atoms`` are reading directions, "writer" if they are writing directions"""
    zero: Tensor
    """(K,) bool: atoms of length zero"""
    silent: Tensor
    """(K,) bool: other units, never active on the evaluation split"""

    def counted(self, definition: Definition, *, by_parent: bool, writers: bool = False) -> Units:
        """Return the units that a definition counts.

        Args:
            definition: ``FULL`` or ``ALIVE``.
            by_parent: whether units are matched within their parent.
            writers: whether their writing directions are compared.
        """
        mask = torch.ones_like(self.zero)
        if by_parent or definition == ALIVE:
            mask &= ~self.zero
        if definition == ALIVE:
            mask &= ~self.silent
        units = Units(
            self.writers if writers and self.writers is not None else self.atoms, self.parents if by_parent else None
        )
        if bool(mask.all()):
            return units
        return Units(units.atoms[mask], None if units.parents is None else units.parents[mask])


class Matching(NamedTuple):
    """Comparison of every pair of runs."""

    pairs: list[float]
    """similarity of each pair, in the order of ``itertools.combinations``"""
    identical: int
    """number of bit-identical pairs"""
    unmatched: list[int]
    """atoms without a partner, per pair"""
    chance: float | None
    """similarity of random dictionaries; None if a run has no atom of positive length"""

    @property
    def finite(self) -> list[float]:
        return [value for value in self.pairs if np.isfinite(value)]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.finite) if self.finite else float("nan")


def fitted_units(store: Store, cell: dict[str, Any]) -> FittedUnits:
    """Load the units of a cell's fit.

    Raises:
        UserError: if the fit is missing or damaged, its method is not registered, or it has no dictionary.
    """
    with calling(methods.METHODS, cell["method"]):
        method = methods.load(store.path.parent / cell["artifact"])
        return _units_of(method, store, cell)


def _units_of(method: Method, store: Store, cell: dict[str, Any]) -> FittedUnits:
    dictionary = method.require_dictionary()
    atoms = dictionary.atoms.detach().cpu()
    units = store.units(cell["cell_id"])
    alive = torch.ones(len(atoms), dtype=torch.bool)
    if len(units) == len(atoms) and not bool(units["alive"].isna().any()):
        alive = torch.from_numpy(units["alive"].to_numpy(dtype=bool).copy())
    zero = ~checked_atoms(atoms)[1]
    has_writers = dictionary.side == "reader" and not method.spec.virtual
    return FittedUnits(
        atoms=atoms,
        parents=None if dictionary.parents is None else dictionary.parents.cpu(),
        writers=writing_directions(method).cpu() if has_writers else None,
        side=dictionary.side,
        zero=zero,
        silent=~zero & ~alive,
    )


def match(runs: Sequence[Units], definition: Definition, check: Callable[[], None] = lambda: None) -> Matching:
    """Compare every pair of runs, several at a time; `check` is called before each and may raise to stop.

    The assignment problem of a pair runs on one thread, without the lock of the interpreter.
    """
    pairs = list(itertools.combinations(runs, 2))

    def similarity(pair: tuple[Units, Units]) -> tuple[float, bool]:
        return _similarity(pair[0], pair[1], definition)

    similarities: list[tuple[float, bool]] = []
    at_once = matched_at_once(len(pairs))
    with ThreadPoolExecutor(at_once, thread_name_prefix="matching of units") as threads:
        # Submitted in rounds, since what a thread has begun cannot be stopped.
        for start in range(0, len(pairs), at_once):
            check()
            similarities += threads.map(similarity, pairs[start : start + at_once])
    return Matching(
        pairs=[value for value, _ in similarities],
        identical=sum(same for _, same in similarities),
        unmatched=[_unmatched(first, second) for first, second in pairs],
        chance=_chance(runs, definition, check),
    )


def _chance(runs: Sequence[Units], definition: Definition, check: Callable[[], None]) -> float | None:
    """Return the mean chance level of the pairs of runs; None if a run has no atom of positive length."""
    shapes = [_shape(run, definition) for run in runs]
    if definition == ALIVE:
        # The surplus costs nothing, so the number of alive units of the first run stands for all runs.
        shapes = shapes[:1] * 2
    if not all(shape.n_atoms > shape.n_zero for shape in shapes):
        return None
    levels = []
    for first, second in itertools.combinations(shapes, 2):
        check()
        levels.append(random_similarity(first, second, definition))
    return statistics.fmean(levels)


def _similarity(first: Units, second: Units, definition: Definition) -> tuple[float, bool]:
    """Return the matched cosine, without rounding if the units are identical, and True if they are.

    Identical means equal to the bit, in the same order.
    """
    same = len(first.atoms) > 0 and torch.equal(first.atoms, second.atoms)
    if first.parents is not None and second.parents is not None:
        same = same and torch.equal(first.parents, second.parents)
    if same and (definition == ALIVE or first.parents is not None):
        return 1.0, True
    if same and (n_zero := _n_zero(first.atoms)) < len(first.atoms):
        # Each atom is its own best partner; an atom of length zero adds 0 to the mean.
        return 1 - n_zero / len(first.atoms), True
    return _matched(first, second, definition), same


def _matched(first: Units, second: Units, definition: Definition) -> float:
    """Return the matched cosine, within each parent if both dictionaries have parents."""
    if first.parents is None or second.parents is None:
        return matched_cosine(first.atoms, second.atoms, full=definition == FULL)
    return matched_cosine_by_parent(first.atoms, first.parents, second.atoms, second.parents)


def _unmatched(first: Units, second: Units) -> int:
    """Return the number of atoms that have no partner because the other dictionary has fewer."""
    if first.parents is None or second.parents is None:
        return abs(len(first.atoms) - len(second.atoms))
    owners = torch.cat([first.parents, second.parents])
    signs = torch.cat([torch.ones(len(first.parents)), -torch.ones(len(second.parents))])
    _, index = torch.unique(owners, return_inverse=True)
    return int(torch.zeros(int(index.max()) + 1).index_add_(0, index, signs).abs().sum()) if len(owners) else 0


class Shape(NamedTuple):
    """Numbers that determine the chance level of a dictionary."""

    n_atoms: int
    width: int
    n_zero: int = 0
    """atoms of length zero, among ``n_atoms``"""
    parents: tuple[int, ...] | None = None
    """parent of each atom; None: matched as a whole"""


def _shape(units: Units, definition: Definition) -> Shape:
    n_atoms, width = units.atoms.shape
    if units.parents is not None:
        return Shape(n_atoms, width, parents=tuple(units.parents.tolist()))
    return Shape(n_atoms, width, n_zero=_n_zero(units.atoms) if definition == FULL else 0)


def _n_zero(atoms: Tensor) -> int:
    return int((~checked_atoms(atoms)[1]).sum())


@lru_cache(maxsize=64)
def random_similarity(first: Shape, second: Shape, definition: Definition = FULL) -> float:
    """Return the matched cosine of two Gaussian dictionaries of these shapes, about .130 for two of 6144 x 768.

    They have as many atoms of length zero, and as many atoms of each parent, as the compared dictionaries, so the level
    contains what such atoms and unequal numbers cost at chance as well. Silent units are atoms like any other here.
    """
    return _matched(_random(first, 0), _random(second, 1), definition)


def _random(shape: Shape, number: int) -> Units:
    generator = torch.Generator().manual_seed(seed_of("random dictionary", shape.n_atoms, shape.width, number))
    atoms = torch.randn(shape.n_atoms, shape.width, generator=generator)
    atoms[shape.n_atoms - shape.n_zero :] = 0
    return Units(atoms, None if shape.parents is None else torch.tensor(shape.parents))
