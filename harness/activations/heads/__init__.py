"""Classification heads, one kind per file (``head = "probe"``). Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.registry import Registry

if TYPE_CHECKING:
    from harness.activations.heads.base import HeadKind

__all__ = ["HEADS"]

HEADS: Registry[type[HeadKind]] = Registry("head", "harness.heads", package="harness.activations.heads")
