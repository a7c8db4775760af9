"""Rows of a token set in the type in which they are stored, for fits that keep them on a device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from methods.base import Reads, Tokens

#: Types in which rows are kept; others are converted to float32.
KEPT_TYPES = (torch.float16, torch.bfloat16, torch.float32)

#: Entries that are copied to a device at once: 64 MiB of float32.
COPIED_ENTRIES = 1 << 24


def stored_rows(tokens: Tokens, field: Reads, start: int, stop: int) -> Tensor:
    """Return rows start..stop (stop - start, width) of a field, by ``tokens.stored`` if there is one."""
    stored = getattr(tokens, "stored", None)
    rows: Tensor = tokens.gather(field, np.arange(start, stop)) if stored is None else stored(field, start, stop)
    return rows if rows.dtype in KEPT_TYPES else rows.float()


def stored_rows_at(tokens: Tokens, field: Reads, rows: np.ndarray) -> Tensor:
    """Return the given rows (len(rows), width) of a field, by ``tokens.stored_at`` or ``tokens.stored`` if possible.

    ``rows`` ascend.
    """
    stored_at = getattr(tokens, "stored_at", None)
    if stored_at is not None:
        stored: Tensor = stored_at(field, rows)
        return stored if stored.dtype in KEPT_TYPES else stored.float()
    if len(rows) and int(rows[-1]) - int(rows[0]) == len(rows) - 1:
        return stored_rows(tokens, field, int(rows[0]), int(rows[-1]) + 1)
    # Of random rows only `gather` is left, in float32; the type of a block must not depend on its rows.
    gathered = tokens.gather(field, rows)
    dtype = stored_rows(tokens, field, 0, min(1, tokens.n)).dtype
    return gathered.to(dtype)
