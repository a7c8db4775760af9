"""Paired comparison of two configurations: differences, intervals, and their text."""

__all__: list[str] = []
