"""Sampling plan of a token set."""

from __future__ import annotations

from typing import NamedTuple


class ProbingPlan(NamedTuple):
    """Sampling plan of a token set. Together with backbone, site and images it determines the token set to the bit."""

    crops: int
    """Random-resized crops per image; 0 takes the centre crop alone."""
    tokens_per_image: int | None
    """Tokens sampled from each crop, without replacement; None takes all."""
    dtype: str
    """"float32" or "float16", on disk."""
    seed: int
    """Token seed. The crops do not depend on it: token seeds differ in the sampled tokens, as in the paper."""

    def views(self) -> int:
        return max(1, self.crops)
