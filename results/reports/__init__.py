"""Tables about methods beside the leaderboard: measured properties, efficiency."""

__all__: list[str] = []
