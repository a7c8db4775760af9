"""Context in which the code of a method may run: whatever it changes in the process is restored."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from harness.identity import seed_of
from methods.interrupts import recognisable_interrupts
from methods.plugin_errors import exits_as_exceptions, failing_threads
from methods.process_state import restored, restored_generators


@contextlib.contextmanager
def guarded_method(subject: str) -> Iterator[None]:
    """Restore random generators and settings of the process; raise for exits, and for errors in threads.

    Args:
        subject: the code that runs, for messages.
    """
    guards = (
        recognisable_interrupts(),
        restored_generators(),
        restored(),
        exits_as_exceptions(),
        failing_threads(subject),
    )
    with contextlib.ExitStack() as stack:
        for guard in guards:
            stack.enter_context(guard)
        yield


def seed_generators(token_seed: int, init_seed: int) -> None:
    """Seed the global generators for a cell: methods take a seed, but a plugin may still draw from the global ones."""
    seed = seed_of("cell", token_seed, init_seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
