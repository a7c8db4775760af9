"""Which atoms of a dictionary count, and their directions: shared by the metrics of dictionary geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.errors import UserError

if TYPE_CHECKING:
    from methods.base import Method

_CHUNK = 512


def directions(atoms: Tensor) -> Tensor:
    """Atoms (K, d) at unit length in float64, those of length zero left out: (K', d).

    Raises:
        UserError: if atoms is no matrix or holds NaN or infinity.
    """
    if atoms.ndim != 2:
        raise UserError(f"A dictionary is a matrix (n_units, d); this one has shape {tuple(atoms.shape)}.")
    if not bool(torch.isfinite(atoms).all()):
        raise UserError("The dictionary holds NaN or infinity: the method that made it has failed.")
    rows = atoms.detach().cpu().double()
    norms = rows.norm(dim=1)
    return rows[norms > 0] / norms[norms > 0, None]


@torch.no_grad()
def writing_directions(method: Method) -> Tensor:
    """(n_units, d_out): what one unit of each code adds to the decoded output.

    For a split this is the basis vector of the unit's neuron, whatever the unit reads.
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
