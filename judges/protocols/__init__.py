"""Protocols of judging, one per file."""

__all__: list[str] = []
