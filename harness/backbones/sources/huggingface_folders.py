"""Identifiers of ``hf:`` and ``vlm:`` backbones that are folders of this machine. No torch is imported."""

from __future__ import annotations

from pathlib import Path

from methods.errors import UserError


def name_of(identifier: str, prefix: str = "hf") -> str:
    """Return the name of the backbone of ``prefix:identifier``, with only the last part of a local folder's path."""
    folder = Path(identifier).expanduser()
    return f"{prefix}:{folder.resolve().name if folder.is_dir() or is_path(identifier) else identifier}"


def vlm_name_of(identifier: str) -> str:
    """Return the name of the backbone of ``vlm:identifier``, as :func:`name_of`."""
    return name_of(identifier, "vlm")


def folder_of(identifier: str, prefix: str = "hf") -> Path | None:
    """Return the local folder that an identifier names, or None if it names a repository of the hub.

    Args:
        prefix: prefix of the specs in messages.

    Raises:
        UserError: if the identifier is a path and there is no such folder.
    """
    folder = Path(identifier).expanduser()
    if folder.is_dir():
        return folder
    if is_path(identifier):
        raise UserError(f"There is no folder {identifier!r}. Give {prefix}:OWNER/NAME or {prefix}:PATH of a folder.")
    return None


def is_path(identifier: str) -> bool:
    """Return True if an identifier is written as a path of this machine, whether or not it exists."""
    return identifier.startswith(("/", "./", "../", "~"))
