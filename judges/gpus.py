"""GPUs of this machine, by the names that ``CUDA_VISIBLE_DEVICES`` gives them, and their division among judges.

A process that is started with some of the names sees these GPUs alone, so several judges do not load their models onto
one GPU.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use; empty without a GPU. CUDA is not initialised.

    The names are those of the variable if it is set: indices, UUIDs, or parts of a GPU (``MIG-...``). CUDA ignores the
    first name that does not exist and all after it.
    """
    count = _count()
    given = os.environ.get(VARIABLE)
    if given is None:
        return tuple(map(str, range(count)))
    names = tuple(name.strip() for name in given.split(","))
    if count and names[0].startswith("MIG-"):
        # One process sees only the first part of a GPU that it names, so the parts cannot be counted from here.
        return tuple(dict.fromkeys(name for name in names if name.startswith("MIG-")))
    return names[:count]


def _count() -> int:
    """Return the number of GPUs as PyTorch counts them without initialising CUDA."""
    try:
        import torch
    except ImportError:
        return 0
    return torch.cuda.device_count()


class GpuPool:
    """GPUs that are given out and come back; without a GPU, one user at a time."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._free = list(names)
        self._n_users = 0

    def take(self, count: int) -> tuple[str, ...] | None:
        """Return ``count`` GPUs, or None if so many are not free now. Without a GPU, the result is empty or None."""
        if len(self._free) < count if self.names else self._n_users:
            return None
        self._n_users += 1
        taken, self._free = self._free[:count], self._free[count:]
        return tuple(taken)

    def give_back(self, gpus: Sequence[str]) -> None:
        """Take back what :meth:`take` has returned."""
        self._n_users -= 1
        self._free = sorted([*self._free, *gpus], key=self.names.index)
