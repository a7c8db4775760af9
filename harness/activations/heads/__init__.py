"""Classification heads, one kind per file. The file's name is the kind's name, as in ``head = "probe"``.

Importing this package imports no torch, so that a suite file can be checked quickly.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from methods.registry import Registry, did_you_mean, natural_key

if TYPE_CHECKING:
    from harness.activations.heads.base import HeadKind

__all__ = ["HEADS", "head_names", "head_problem"]

HEADS: Registry[type[HeadKind]] = Registry("head", "harness.heads", package="harness.activations.heads")

#: Modules of this package that define no kind.
_SHARED = ("__init__", "base", "labels")


def head_names() -> list[str]:
    """Return the names of all kinds of heads, naturally sorted. No module of a kind is imported."""
    built_in = {file.stem for file in Path(__file__).parent.glob("*.py")} - set(_SHARED)
    plugins = {point.name for point in entry_points(group=HEADS.group)}
    return sorted(built_in | plugins | set(HEADS.entries), key=natural_key)


def head_problem(name: str) -> str | None:
    """Return the sentence for an unknown kind of head, or None if there is one of this name."""
    names = head_names()
    return None if name in names else f"there is no head {name!r}. {did_you_mean(name, names)}"
