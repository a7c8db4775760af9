"""Kinds of panels, one per file."""

__all__: list[str] = []
