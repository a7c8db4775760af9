"""Modules that belong to no installed package: files beside a notebook or script, which change without a version."""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from methods.registry import is_built_in

#: Module of what is defined in a notebook, an interactive session, or the script that was started.
INTERACTIVE = "__main__"


def local_source(name: str) -> str | None:
    """Return a hash of the file of a local module and of the local modules that it names; None for installed ones.

    The files are read when this is called first, so a file that is edited after the import counts as it was then.
    """
    files = _local_files(name, {})
    if not files:
        return None
    digest = hashlib.blake2b(digest_size=8)
    for module in sorted(files):
        digest.update(f"{module}|{files[module]}|".encode())
    return digest.hexdigest()


def _local_files(name: str, files: dict[str, str]) -> dict[str, str]:
    """Return the hashes of the files of a local module, and of those that it imports; ``files`` is filled."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or not file or name in files or name == INTERACTIVE or not _is_local(name, file):
        return files
    files[name] = _file_hash(file)
    for value in list(vars(module).values()):
        other = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(other, str):
            _local_files(other, files)
    return files


def _is_local(name: str, file: str) -> bool:
    if is_built_in(name):
        return False
    return not any(Path(file).is_relative_to(folder) for folder in _installed_folders())


@functools.cache
def _installed_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple(Path(paths[key]) for key in ("stdlib", "platstdlib", "purelib", "platlib"))


@functools.cache
def _file_hash(file: str) -> str:
    try:
        return hashlib.blake2b(Path(file).read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return "unreadable"
