"""Memory that the C library keeps between the steps of a fit, instead of returning it to the system.

glibc returns every freed block of 32 MiB or more at once. The next block of that size comes from the system again,
which fills its pages with zeros. A training step frees and asks for many such blocks.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Iterator
from typing import NamedTuple

#: Parameters of ``mallopt`` (``malloc.h``).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4

#: Values within the context: all blocks come from the heap, whose end is returned only if more than this is free.
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
#: Values after it: glibc's own, at the largest that its thresholds grow to. A call of ``mallopt`` ends their growth.
_USUAL = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}


class _Glibc(NamedTuple):
    """Functions of glibc."""

    mallopt: ctypes._NamedFuncPointer
    malloc_trim: ctypes._NamedFuncPointer


_lock = threading.Lock()
_users = 0


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep freed memory for the next request; afterwards return it to the system.

    Contexts may be nested, and entered in several threads: memory is kept until the last one is left, and counts as
    used until then. Without glibc, or if the environment sets its allocator, nothing changes. Results do not depend on
    it.
    """
    global _users
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _set(library, _KEPT)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set(library, _USUAL)
                library.malloc_trim(0)


def _set(library: _Glibc, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        library.mallopt(parameter, value)


@functools.cache
def _glibc() -> _Glibc | None:
    # There is no way to read these settings, so they could not be set back.
    if any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - other libraries have a mallopt of another meaning
        return _Glibc(library.mallopt, library.malloc_trim)
    except (OSError, AttributeError, TypeError):
        # TypeError: Windows has no handle of the process itself.
        return None
