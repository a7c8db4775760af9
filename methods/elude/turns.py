"""Turns of lanes at a GPU: one of them computes distances there, while the others are at the CPU's part of their trees.

Lanes that share a GPU from the start would take twice as long for the distances, reach the CPU's part together, and
leave the GPU without work meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

from methods.tracing import HOST, section

_turns: dict[torch.device, threading.Lock] = {}


@contextlib.contextmanager
def turn_on(device: torch.device) -> Iterator[None]:
    """Return the context of a turn, which this process gives to one thread per GPU at a time; of no effect on a CPU.

    A thread should have all results of its turn on the host when the turn ends: what it has queued and not waited for
    delays the next thread.
    """
    # A CPU divides its threads among the lanes.
    if device.type != "cuda":
        yield
        return
    turn = _turns.setdefault(device, threading.Lock())
    with contextlib.ExitStack() as stack:
        with section("waiting for a turn at the GPU", HOST):
            stack.enter_context(turn)
        yield
