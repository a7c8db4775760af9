"""Directions of a dictionary's atoms, shared by the metrics of dictionary geometry."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.errors import ArgumentError
from harness.metrics.inputs import in_range
from methods.base import Method
from methods.requirements import is_finite

_CHUNK = 512


def directions(atoms: Tensor) -> Tensor:
    """Return atoms (K, d) as rows of unit length in float64, without atoms of length zero: (K', d).

    Raises:
        ArgumentError: if ``atoms`` is not a matrix of real numbers, or contains NaN or infinity.
    """
    rows, alive = checked_atoms(atoms)
    norms = rows.norm(dim=1)[alive]
    unit_rows: Tensor = rows[alive] / norms[:, None]
    return unit_rows


def checked_atoms(atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Return atoms (K, d) on the CPU in float64, scaled if squares leave its range, and the mask (K,) of nonzero ones.

    Raises:
        ArgumentError: if ``atoms`` is not a matrix of real numbers, or contains NaN or infinity.
    """
    if not isinstance(atoms, Tensor) or atoms.ndim != 2 or atoms.is_complex():
        kind = f"{atoms.dtype} {tuple(atoms.shape)}" if isinstance(atoms, Tensor) else type(atoms).__name__
        raise ArgumentError(f"The dictionary is {kind}; it must be a matrix (n_units, d) of real numbers.")
    if not is_finite(atoms):
        raise ArgumentError("The dictionary contains NaN or infinity, so the fit of the method has failed.")
    rows = in_range(atoms.detach().cpu())
    return rows, rows.norm(dim=1) > 0


@torch.no_grad()
def writing_directions(method: Method) -> Tensor:
    """Return the (n_units, d_out) change of the decoded output if the code of each unit rises from 0 to 1.

    For a split, this is the basis vector of the unit's neuron, independent of the unit's weights.

    Raises:
        UserError: if the decoder is not linear, so that the change depends on the other codes.
    """
    atoms = method.require_dictionary().atoms
    if method.decode_reads_input:
        # The change depends on the token; it is along the atom.
        return atoms.detach()
    device = atoms.device
    offset = method.decode(torch.zeros(1, method.n_units, device=device))
    parts = []
    for start in range(0, method.n_units, _CHUNK):
        size = min(_CHUNK, method.n_units - start)
        codes = torch.zeros(size, method.n_units, device=device)
        codes[torch.arange(size), torch.arange(start, start + size)] = 1
        parts.append(method.decode(codes) - offset)
    return torch.cat(parts)
