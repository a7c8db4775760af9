"""Identifiers of ``hf:`` backbones that are folders of this machine. No torch is imported."""

from __future__ import annotations

from pathlib import Path

from methods.errors import UserError


def name_of(identifier: str) -> str:
    """Return the name of the backbone of ``hf:identifier``, with only the last part of a local folder's path."""
    folder = Path(identifier).expanduser()
    return f"hf:{folder.resolve().name if folder.is_dir() or is_path(identifier) else identifier}"


def folder_of(identifier: str) -> Path | None:
    """Return the local folder that an identifier names, or None if it names a repository of the hub.

    Raises:
        UserError: if the identifier is a path and there is no such folder.
    """
    folder = Path(identifier).expanduser()
    if folder.is_dir():
        return folder
    if is_path(identifier):
        raise UserError(f"There is no folder {identifier!r}. Give hf:OWNER/NAME or hf:PATH of a folder.")
    return None


def is_path(identifier: str) -> bool:
    """Return True if an identifier is written as a path of this machine, whether or not it exists."""
    return identifier.startswith(("/", "./", "../", "~"))
