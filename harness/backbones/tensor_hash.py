"""Hash of named tensors, for the identities of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def hash_tensors(tensors: Mapping[str, Tensor], first: str = "") -> str:
    """Return the ``blake2b`` hash of ``first``, then name, dtype, shape and bytes of each tensor, sorted by name."""
    digest = hashlib.blake2b(first.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
