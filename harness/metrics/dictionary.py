"""Directions of a dictionary's atoms, shared by the metrics of dictionary geometry."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.errors import UserError
from methods.base import Method

_CHUNK = 512


def directions(atoms: Tensor) -> Tensor:
    """Return atoms (K, d) as rows of unit length in float64, without atoms of length zero: (K', d).

    Raises:
        UserError: if ``atoms`` is not a matrix, or contains NaN or infinity.
    """
    if atoms.ndim != 2:
        raise UserError(f"The dictionary has shape {tuple(atoms.shape)}; it must be a matrix (n_units, d).")
    if not bool(torch.isfinite(atoms).all()):
        raise UserError("The dictionary contains NaN or infinity, so the fit of the method has failed.")
    rows = atoms.detach().cpu().double()
    norms = rows.norm(dim=1)
    unit_rows: Tensor = rows[norms > 0] / norms[norms > 0, None]
    return unit_rows


@torch.no_grad()
def writing_directions(method: Method) -> Tensor:
    """Return the (n_units, d_out) change of the decoded output if the code of each unit rises from 0 to 1.

    For a split, this is the basis vector of the unit's neuron, independent of the unit's weights.
    """
    device = method.dictionary().atoms.device
    offset = method.decode(torch.zeros(1, method.n_units, device=device))
    parts = []
    for start in range(0, method.n_units, _CHUNK):
        size = min(_CHUNK, method.n_units - start)
        codes = torch.zeros(size, method.n_units, device=device)
        codes[torch.arange(size), torch.arange(start, start + size)] = 1
        parts.append(method.decode(codes) - offset)
    return torch.cat(parts)
