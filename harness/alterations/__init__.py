"""Alterations of images: changes of the pixels under which a metric measures again."""

from harness.alterations.base import ALTERATIONS, Alteration

__all__ = ["ALTERATIONS", "Alteration"]
