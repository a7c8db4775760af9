"""Files of fitted methods beside a store. Their names come from the store, which may come from anyone."""

from __future__ import annotations

from pathlib import Path

#: Folder of the fitted methods, beside a store.
FOLDER = "artifacts"


def artifact_file(folder: Path, name: str) -> Path | None:
    """Return the file that a cell names; None if the name leads out of ``artifacts/``, also through a link.

    Args:
        folder: folder of the store.
        name: `cells.artifact`, relative to `folder`.
    """
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts or relative.parts[:1] != (FOLDER,):
        return None
    file = folder / relative
    try:
        return file if file.resolve().is_relative_to(folder.resolve()) else None
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or links in a circle
        return None
