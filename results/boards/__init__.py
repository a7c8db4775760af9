"""Leaderboards: which scores share a column, how rows are averaged over seeds, and their text."""

__all__: list[str] = []
