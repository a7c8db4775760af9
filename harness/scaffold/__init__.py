"""Templates of plugins, written by ``harness new``."""

from harness.scaffold.write import kinds, next_steps, scaffold

__all__ = ["kinds", "next_steps", "scaffold"]
