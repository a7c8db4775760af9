"""Tables about methods in addition to the leaderboard: measured properties, efficiency."""

__all__: list[str] = []
