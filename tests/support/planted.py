"""Sparse data with a known dictionary."""

from __future__ import annotations

from typing import NamedTuple

import torch
from in_memory import MemorySite, MemoryTokens
from torch import Tensor


class Planted(NamedTuple):
    site: MemorySite
    tokens: MemoryTokens
    atoms: Tensor
    """(n_atoms, d) unit rows"""

    def recovered(self, found: Tensor) -> float:
        """Share of the atoms that some row of found (n_units, d) meets at a cosine above .9."""
        unit = torch.nn.functional.normalize(found, dim=1)
        return float(((self.atoms @ unit.T).max(1).values > 0.9).float().mean())


def planted(
    n: int = 8192, d: int = 32, n_atoms: int = 64, active: int = 3, noise: float = 0.02, seed: int = 0
) -> Planted:
    """Each token is ``active`` atoms with codes in [1, 2), and noise of the given share of the standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(n_atoms, d, generator=generator), dim=1)
    chosen = torch.rand(n, n_atoms, generator=generator).topk(active, 1).indices
    codes = torch.zeros(n, n_atoms).scatter_(1, chosen, 1 + torch.rand(n, active, generator=generator))
    a = codes @ atoms
    a = a + noise * a.std() * torch.randn(a.shape, generator=generator)
    q = torch.randn(n, 8, generator=generator)
    return Planted(MemorySite(torch.zeros(d, 8), torch.zeros(d)), MemoryTokens(q, a), atoms)
