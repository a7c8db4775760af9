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
