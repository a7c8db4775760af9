"""Paired comparison of two configurations: differences, intervals, and their text."""
