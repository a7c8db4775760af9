"""Errors of this package for requests of the user that cannot be fulfilled."""

from __future__ import annotations

from results.visible_text import short_lines


class StoreError(Exception):
    """The store cannot do what was asked. The message is one or two plain sentences that say what to do about it.

    Very long names and values in it are shortened.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(short_lines(text) if isinstance(text, str) else text for text in arguments))


class StoreUnavailableError(StoreError):
    """The store can be neither read nor written now: it is in use, read-only, damaged, or the disk is full.

    The same request may succeed later.

    Attributes:
        holder: process or connection that holds the file, in words; None if none does.
    """

    def __init__(self, message: str, holder: str | None = None) -> None:
        super().__init__(message)
        self.holder = holder


class NotComparableError(StoreError):
    """Two rows have nothing that can be compared: no common seed, or no common metric."""
