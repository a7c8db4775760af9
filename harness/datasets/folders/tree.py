"""Folder tree that is read as far as a question about it needs: a folder of ImageNet is not listed as a whole."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harness.datasets.folders.image_files import is_image, readable_suffixes


@dataclass(frozen=True)
class Folder:
    """Folder with its visible sub-folders. ``prefix`` is its path relative to the image set, empty for the set's own.

    Links are followed, but not to a folder above. A folder that may not be listed counts as empty.
    """

    path: Path
    prefix: str = ""
    _above: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def title(self) -> str:
        """Path for messages: relative to the image set, with a final slash."""
        return f"{self.prefix}/"

    @cached_property
    def children(self) -> list[Folder]:
        """Visible sub-folders, sorted by name."""
        folders: list[Folder] = []
        above = self._above | {os.path.realpath(self.path)}
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or not entry.is_dir():
                        continue
                    if entry.is_symlink() and os.path.realpath(entry.path) in above:
                        continue
                    inner = f"{self.prefix}/{entry.name}" if self.prefix else entry.name
                    folders.append(Folder(Path(entry.path), inner, above))
        except OSError:
            return []
        return sorted(folders, key=lambda folder: folder.name)

    @cached_property
    def holds_files(self) -> bool:
        """True if images lie directly in the folder."""
        readable = readable_suffixes()
        try:
            with os.scandir(self.path) as entries:
                return any(is_image(entry.name, readable) and not entry.is_dir() for entry in entries)
        except OSError:
            return False

    @cached_property
    def holds_images(self) -> bool:
        """True if images lie in the folder or anywhere below it."""
        # Each folder once, however many links lead to it. The answers for the folders on the way are kept, so that
        # a chain of folders is not walked again from each of them.
        waiting: list[tuple[Folder, ...]] = [(self,)]
        visited: dict[str, Folder] = {}
        while waiting:
            *above, folder = chain = waiting.pop()
            real = os.path.realpath(folder.path)
            if real in visited:
                continue
            visited[real] = folder
            if folder.holds_files:
                for each in above:
                    each.__dict__["holds_images"] = True
                return True
            waiting += [(*chain, child) for child in reversed(folder.children)]
        for folder in visited.values():
            folder.__dict__["holds_images"] = False
        return False

    @cached_property
    def class_folders(self) -> list[Folder]:
        """Sub-folders that hold images."""
        return [child for child in self.children if child.holds_images]

    @cached_property
    def annotation_files(self) -> list[Path]:
        """Text files with the labels of the images, as ``val_annotations.txt`` of Tiny-ImageNet."""
        try:
            files = [file for file in self.path.iterdir() if "annotations" in file.name.lower()]
        except OSError:
            return []
        return sorted(
            file for file in files if file.suffix.lower() == ".txt" and not file.name.startswith(".") and file.is_file()
        )
