"""Files that a Hugging Face data set may name: those of its own folder, or those that were downloaded for it.

Rows hold the bytes of an image or the path of a file, and the description of a saved set holds the paths of its tables.
Both come with the data set, so that one from somebody else could name any file of the reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.datasets import files
from methods.errors import UserError

#: Bytes of a JSON file of a saved data set; the names of its classes are in it.
_LARGEST_JSON = 64 << 20
_INFO, _STATE, _SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"


def folders_of_saved(folder: Path) -> tuple[Path, ...]:
    """Return the folders whose files a saved data set may name, the one that relative paths start from first."""
    resolved = folder.resolve()
    # A snapshot of the hub's cache consists of links to files beside it.
    return (resolved, resolved.parents[1]) if resolved.parent.name == "snapshots" else (resolved,)


def folders_of_downloaded(name: str) -> tuple[Path, ...]:
    """Return the folders whose files a downloaded data set may name: its own in the hub's cache, and all archives.

    Archives lie in one folder, under a hash of their address. A set that was renamed may have another owner.
    """
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    end = f"--{name.rpartition('/')[2]}".lower()
    cache = Path(HF_HUB_CACHE).expanduser()
    repositories = [folder for folder in cache.glob("datasets--*") if folder.name.lower().endswith(end)]
    archives = (datasets.config.DOWNLOADED_DATASETS_PATH, datasets.config.EXTRACTED_DATASETS_PATH)
    return tuple(Path(folder).resolve() for folder in [*archives, *repositories])


def path_of_row(text: Any, folders: Sequence[Path]) -> Path:
    """Return the path that a row of a data set names.

    Args:
        text: path, absolute or relative to the first folder.
        folders: folders in which it must be, links followed.

    Raises:
        OSError: it is no path, or is outside of the folders.
    """
    if not isinstance(text, str) or not text:
        raise OSError("the row has neither bytes nor a path")
    path = _resolved(folders[0] / text, folders)
    if path is None:
        raise OSError("the row names a file outside of the data set")
    return path


def require_own_files(folder: Path) -> None:
    """Check that the tables that a saved data set names are regular files inside its folder.

    Raises:
        UserError: if one is not, or a description is damaged.
    """
    folders = folders_of_saved(folder)
    try:
        for part in _parts(folder, folders):
            for entry in _list(_read(part / _STATE, folders), "_data_files"):
                name = entry.get("filename") if isinstance(entry, dict) else None
                files.regular_size(_required(folders, part, name))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(
            f"The data set {str(folder)!r} cannot be read: {reason}. It must be a folder that save_to_disk "
            "has written, with all files inside it; write it again."
        ) from error


def _parts(folder: Path, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the folder of each split, chosen as `datasets.load_from_disk` chooses."""
    if (folder / _INFO).is_file() and (folder / _STATE).is_file():
        _required(folders, folder, _INFO)
        yield folder
    elif (folder / _SPLITS).is_file():
        for name in _list(_read(folder / _SPLITS, folders), "splits"):
            part = _required(folders, folder, name)
            _required(folders, part, _INFO)
            yield part


def _read(file: Path, folders: Sequence[Path]) -> Any:
    return json.loads(files.read(_required(folders, file.parent, file.name), _LARGEST_JSON))


def _list(values: Any, key: str) -> list[Any]:
    entries = values.get(key) if isinstance(values, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"its description has no list {key!r}")
    return entries


def _required(folders: Sequence[Path], start: Path, name: Any) -> Path:
    if not isinstance(name, str) or not name:
        raise ValueError("its description has an invalid name of a file")
    path = _resolved(start / name, folders)
    if path is None:
        raise ValueError(f"it names {name!r}, which is outside of its folder")
    return path


def _resolved(path: Path, folders: Sequence[Path]) -> Path | None:
    """Return a path with links resolved, or None if it is in none of the folders or no path at all."""
    try:
        resolved = path.resolve()
    except (OSError, ValueError, RuntimeError):  # a null character, a name that is too long, links in a circle
        return None
    return resolved if any(resolved.is_relative_to(folder) for folder in folders) else None
