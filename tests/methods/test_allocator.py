"""Freed memory is kept within the context, in any thread, and returned to the system after it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from methods.allocator import _glibc

pytestmark = pytest.mark.skipif(_glibc() is None, reason="needs glibc")

#: Functions of the child processes, in which no other test has changed the allocator.
START = """
import resource
import threading
from pathlib import Path

import numpy as np

from methods.allocator import kept_memory

MIB = 1 << 20

def faults(rounds=10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        np.ones(40 * MIB, np.uint8) + np.ones(40 * MIB, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
"""


def child(code: str) -> list[int]:
    """Run code in a new process and return the numbers that it prints."""
    script = START + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_blocks_are_reused_within_the_context_only() -> None:
    """Ten rounds of three blocks of 40 MiB are 307,200 pages of 4 KiB, or fewer faults where pages are larger."""
    outside, first, inside, after = child(
        """
        outside = faults()
        with kept_memory():
            print(outside, faults(), faults())
        print(faults())
        """
    )
    assert inside < 0.02 * outside
    assert first < 0.5 * outside
    assert after > 0.5 * outside


def test_memory_is_returned_when_the_last_context_ends() -> None:
    start, inner, end = child(
        """
        start = resident()
        with kept_memory():
            with kept_memory():
                faults()
            inner = resident()
        print(start, inner, resident())
        """
    )
    assert inner - start > 80 << 20
    assert end - start < 20 << 20


def test_a_context_in_another_thread_does_not_end_this_one() -> None:
    outside, inside = child(
        """
        outside = faults()
        entered, leave = threading.Event(), threading.Event()

        def other():
            with kept_memory():
                entered.set()
                leave.wait(60)

        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(60)
        with kept_memory():
            leave.set()
            thread.join()
            faults()
            print(outside, faults())
        """
    )
    assert inside < 0.02 * outside


def test_an_error_passes_and_the_context_ends() -> None:
    outside, after = child(
        """
        outside = faults()
        try:
            with kept_memory():
                faults()
                raise ValueError
        except ValueError:
            print(outside, faults())
        """
    )
    assert after > 0.5 * outside
