"""Starting points for plugins: what ``harness new`` writes."""

from harness.scaffold.write import kinds, next_steps, scaffold

__all__ = ["kinds", "next_steps", "scaffold"]
