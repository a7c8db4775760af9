"""Registered backbones, one file each. The files import nothing heavy. To add a backbone, add a file."""

__all__: list[str] = []
