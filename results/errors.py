"""Errors of this package for requests of the user that cannot be fulfilled."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do what was asked. The message is one or two plain sentences that say what to do about it."""


class NotComparableError(StoreError):
    """Two rows have nothing that can be compared: no common seed, or no common metric."""
