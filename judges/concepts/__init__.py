"""Prompts of "explain, then detect": a judge names the concept of a unit, and then looks for it in single images.

They are no judging protocols: no two grids are compared, so ``harness judge --protocol`` does not offer them.
"""

from judges.concepts.detect import DETECT
from judges.concepts.explain import EXPLAIN

__all__ = ["DETECT", "EXPLAIN"]
