"""Scorers of concept labels, one per file. Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from methods.registry import Registry

if TYPE_CHECKING:
    from harness.steering.scorers.base import Scorer

__all__ = ["SCORERS"]


def _problem(cls: Any) -> str | None:
    """Return the reason why an object cannot be registered as a scorer, or None."""
    from harness.steering.scorers.base import Scorer

    if not (isinstance(cls, type) and issubclass(cls, Scorer)):
        return "it is not a subclass of harness.steering.scorers.base.Scorer"
    if not isinstance(getattr(cls, "name", None), str):
        return "it lacks the class attribute name"
    version = getattr(cls, "version", None)
    is_whole = isinstance(version, int) and not isinstance(version, bool) and version > 0
    return None if is_whole else "it lacks the class attribute version, a whole number from 1"


SCORERS: Registry[type[Scorer]] = Registry(
    "scorer", "harness.scorers", package="harness.steering.scorers", check=_problem
)
