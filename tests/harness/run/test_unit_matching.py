"""Matching of the units of two fits: counted units, atoms without a partner, and chance levels."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from harness import devices
from harness.metrics import matched_cosine, matched_cosine_by_parent
from harness.run.unit_matching import ALIVE, FULL, FittedUnits, Shape, Units, match, random_similarity


def random(k: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(k, d, generator=torch.Generator().manual_seed(seed))


def fitted(atoms: Tensor, silent: list[int], parents: Tensor | None = None) -> FittedUnits:
    zero = atoms.norm(dim=1) == 0
    is_silent = torch.zeros(len(atoms), dtype=torch.bool)
    is_silent[silent] = True
    return FittedUnits(atoms, parents, -atoms, "reader", zero, is_silent & ~zero)


def test_which_units_are_counted() -> None:
    """Atom 1 has length zero, atom 3 is silent."""
    atoms = torch.eye(4) * torch.tensor([1.0, 0, 1, 1])[:, None]
    run = fitted(atoms, [3], torch.tensor([0, 0, 1, 1]))
    rows = {
        (FULL, False): [0, 1, 2, 3],
        (FULL, True): [0, 2, 3],
        (ALIVE, False): [0, 2],
        (ALIVE, True): [0, 2],
    }
    for (definition, by_parent), expected in rows.items():
        counted = run.counted(definition, by_parent=by_parent)
        assert torch.equal(counted.atoms, atoms[expected])
        assert (counted.parents is None) == (not by_parent)
        assert torch.equal(run.counted(definition, by_parent=by_parent, writers=True).atoms, -atoms[expected])


def test_a_dictionary_of_one_neuron_is_one_block() -> None:
    """The penalty for surplus atoms is the one within a parent, where no atom has length zero."""
    for k1, k2 in itertools.product((1, 3, 7), repeat=2):
        d1, d2 = random(k1, 5), random(k2, 5, 1)
        by_parent = matched_cosine_by_parent(d1, torch.zeros(k1), d2, torch.zeros(k2))
        assert matched_cosine(d1, d2, full=True) == pytest.approx(by_parent)


def test_atoms_without_a_partner_are_counted_within_parents() -> None:
    first = Units(random(5, 3), torch.tensor([0, 0, 0, 1, 9]))
    second = Units(random(4, 3, 1), torch.tensor([0, 1, 1, 2]))
    whole = [units._replace(parents=None) for units in (first, second)]
    assert match([first, second], FULL).unmatched == [2 + 1 + 1 + 1]
    assert match(whole, FULL).unmatched == [1]


@pytest.mark.parametrize("n_zero", [0, 3, 10])
def test_identical_dictionaries_have_no_rounding_and_zeros_count(n_zero: int) -> None:
    d = random(10, 4)
    d[:n_zero] = 0
    matching = match([Units(d), Units(d.clone()), Units(d.flip(0))], FULL)
    if n_zero == 10:
        assert all(map(math.isnan, matching.pairs)) and matching.chance is None
        return
    assert matching.pairs[0] == 1 - n_zero / 10 and matching.identical == 1
    assert matching.pairs == pytest.approx([1 - n_zero / 10] * 3)


def test_pairs_matched_at_the_same_time_are_matched_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pairs on one and on four threads, and an interrupt between the rounds."""
    runs = [Units(random(60 + seed, 8, seed)) for seed in range(5)]
    results, calls = [], []
    for cores in (1, 64):
        monkeypatch.setattr(devices, "core_count", lambda cores=cores: cores)
        checks: list[None] = []
        results.append(match(runs, FULL, lambda checks=checks: checks.append(None)))
        calls.append(len(checks))
    assert results[0] == results[1]
    # Ten chance levels besides.
    assert calls == [10 + 10, 3 + 10]
    expected = [matched_cosine(a.atoms, b.atoms, full=True) for a, b in itertools.combinations(runs, 2)]
    assert results[1].pairs == expected

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        match(runs, FULL, stop)


def test_random_dictionaries_have_a_level_of_their_own() -> None:
    # That of the paper's shape, 6144 x 768, is tested with matched_cosine.
    smaller = Shape(768, 96)
    expected = matched_cosine(random(768, 96, 1), random(768, 96, 2))
    assert random_similarity(smaller, smaller) == pytest.approx(expected, abs=0.005) and expected > 0.25
    # One atom per parent leaves no choice: a mean of independent cosines.
    single = Shape(400, 50, parents=tuple(range(400)))
    assert random_similarity(single, single) == pytest.approx(0, abs=4 / math.sqrt(400 * 50))


def test_the_chance_level_contains_zeros_and_surplus() -> None:
    plain = random_similarity(Shape(400, 50), Shape(400, 50))
    # Half of the atoms of each are zero: at best each other atom has a partner from 200.
    half = random_similarity(Shape(400, 50, n_zero=200), Shape(400, 50, n_zero=200))
    assert half == pytest.approx(random_similarity(Shape(200, 50), Shape(200, 50)) / 2, abs=0.02) and half < plain
    # 200 atoms choose among 400, which is easier, and half of the larger dictionary has no partner.
    surplus = random_similarity(Shape(400, 50), Shape(200, 50))
    easier = random_similarity(Shape(400, 50), Shape(200, 50), ALIVE)
    assert surplus == pytest.approx(easier - 0.5) and easier > plain
    # Within a parent, a missing atom costs as much at chance.
    full, less = Shape(400, 50, parents=(0, 1) * 200), Shape(300, 50, parents=(0, 1) * 100 + (0,) * 100)
    assert random_similarity(full, less) < random_similarity(full, full) - 0.2


def test_random_dictionaries_score_their_chance_level() -> None:
    """24 pairs of random dictionaries with 20 atoms of length zero and 30 surplus atoms; the level is one more draw."""
    pairs = []
    for seed in range(24):
        runs = [torch.cat([random(n, 16, 2 * seed + n), torch.zeros(20, 16)]) for n in (100, 130)]
        matching = match([Units(atoms) for atoms in runs], FULL)
        pairs.append(matching.pairs[0])
    assert matching.chance == pytest.approx(sum(pairs) / len(pairs), abs=0.02)
