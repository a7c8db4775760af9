"""Parts of an exception, read without running code of its class.

The class of a plugin's exception may define ``__class__``, ``__getattribute__`` or ``__bool__``, so that ``isinstance``
or ``error.__traceback__`` raises another exception where the first one is handled.
"""

from __future__ import annotations

from types import TracebackType, UnionType
from typing import Any

_PARTS: Any = BaseException.__dict__


def is_a(error: BaseException, kinds: type | UnionType | tuple[type, ...]) -> bool:
    """Return ``isinstance(error, kinds)`` from the type of the exception alone."""
    return issubclass(type(error), kinds)


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return ``error.__traceback__``."""
    trace: TracebackType | None = _PARTS["__traceback__"].__get__(error)
    return trace


def previous_of(error: BaseException) -> BaseException | None:
    """Return the exception that ``error`` was raised from, or while handling which it was raised."""
    cause: BaseException | None = _PARTS["__cause__"].__get__(error)
    context: BaseException | None = _PARTS["__context__"].__get__(error)
    return context if cause is None else cause
