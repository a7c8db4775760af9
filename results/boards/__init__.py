"""Leaderboards: which scores share a column, means over seeds, and their text."""

__all__: list[str] = []
