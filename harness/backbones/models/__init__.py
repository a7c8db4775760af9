"""Backbones with a name of their own, one file each; the files import nothing heavy. A new one is a new file."""

__all__: list[str] = []
