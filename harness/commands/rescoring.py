"""Scoring of the tournaments of a store that was merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results import Store


def rescored(store: Store, tournaments: Sequence[str]) -> None:
    """Compute the win rates of tournaments again from the stored replies."""
    # It imports torch, and few merges need it.
    from harness.judging.scoring import rescore

    rescore(store, tournaments)
