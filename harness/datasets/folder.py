"""Folder with one sub-folder per class, with or without splits above them: ``folder:PATH``."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.datasets import DATASETS, wordnet
from harness.datasets.base import ImageSet
from harness.datasets.folders import hierarchy_file
from harness.datasets.folders.annotations import read_annotations
from harness.datasets.folders.image_files import is_image, readable_suffixes, why_skipped
from harness.datasets.folders.layout import LAYOUT, Part, recognise
from harness.datasets.folders.tree import Folder
from harness.datasets.hierarchy import ClassHierarchy
from harness.datasets.label_sets import are_wordnet_ids
from harness.datasets.split_names import join
from methods.errors import UserError


def load(identifier: str) -> ImageSet:
    """Load the images below the folder ``identifier``. Only file names are read.

    Classes are the names of the sub-folders that hold images, sorted, in the Unicode form NFC; images may lie deeper
    inside them. Folders of splits (``train/`` with ``val/`` or ``test/``, in the usual spellings) above the classes are
    the predefined split: see :mod:`harness.datasets.folders.layout`. Hidden files and folders are ignored; links are
    followed.

    The class hierarchy is that of a file ``hierarchy.csv`` beside the class folders or above them
    (:mod:`harness.datasets.folders.hierarchy_file`). Without one, classes that are WordNet ids have that of WordNet if
    ``HARNESS_WORDNET`` is set (:mod:`harness.datasets.wordnet`).

    Raises:
        UserError: if the folder is missing, its layout is ambiguous, it has no images in class sub-folders, or its
            hierarchy is invalid.
    """
    if not identifier:
        raise UserError("folder: needs a path, as in folder:/data/imagenet.")
    root = Path(identifier).expanduser()
    if not root.is_dir():
        raise UserError(f"There is no folder {identifier!r}. Give the path of a folder laid out as {LAYOUT}.")
    tree = Folder(root)
    try:
        layout = recognise(tree, repr(identifier))
    except RecursionError:
        raise UserError(
            f"The folders in {identifier!r} are nested too deeply. Give the path of a folder laid out as {LAYOUT}."
        ) from None
    reading = _Reading()
    records: list[tuple[str, Path, str]] = []
    for folder in _above(tree, layout.parts):
        reading.skip_loose(folder)
    for part in layout.parts:
        part_images = list(reading.images(part))
        if not part_images:
            raise _no_images(identifier, part.folder, reading)
        records += part_images
    hierarchies = _hierarchy_files(tree, layout.parts, identifier)
    reading.n_other_files -= len(hierarchies)
    images = ImageSet.labelled(
        f"folder:{_as_text(root.resolve().name)}",
        sorted(records),
        probing_folder=layout.probing,
        skipped=reading.skipped,
        notes=(*layout.notes, *reading.notes()),
    )
    return dataclasses.replace(images, class_hierarchy=_hierarchy(hierarchies, images.classes))


def _hierarchy_files(root: Folder, parts: Sequence[Part], identifier: str) -> list[Path]:
    """Return the files that hold a hierarchy of the classes: none or one.

    Raises:
        UserError: if there are several.
    """
    folders = [*_above(root, parts), *(part.folder for part in parts)]
    paths = [folder.path / hierarchy_file.NAME for folder in folders]
    present = [path for path in dict.fromkeys(paths) if path.is_file()]
    if len(present) > 1:
        names = join([_name(path, root.path, "") for path in present])
        raise UserError(f"{names} in {identifier!r} both give the hierarchy of the classes: keep one of them.")
    return present


def _hierarchy(paths: Sequence[Path], classes: Sequence[str]) -> ClassHierarchy | None:
    if paths:
        return hierarchy_file.read_hierarchy(paths[0], classes)
    return wordnet.hierarchy_of(classes) if are_wordnet_ids(classes) else None


def _above(root: Folder, parts: Sequence[Part]) -> list[Folder]:
    """Return the folders that hold the parts: the root, and folders that only wrap the classes."""
    folders: dict[str, Folder] = {}
    for part in parts:
        names = part.folder.prefix.split("/") if part.folder.prefix else []
        for depth in range(len(names)):
            prefix = "/".join(names[:depth])
            folders[prefix] = Folder(root.path / prefix, prefix)
    return list(folders.values())


def _no_images(identifier: str, folder: Folder, reading: _Reading) -> UserError:
    if not folder.children:
        return UserError(f"{identifier!r} has no class sub-folders. Lay it out as {LAYOUT}.")
    name = f"{identifier!r}, {folder.title}" if folder.prefix else repr(identifier)
    if reading.skipped:
        file, reason = next(iter(reading.skipped.items()))
        return UserError(
            f"There are no images that can be read in the class sub-folders of {name}: "
            f"{len(reading.skipped)} skipped, such as {file} ({reason})."
        )
    suffixes = ", ".join(sorted(readable_suffixes()))
    return UserError(f"There are no images in the class sub-folders of {name} ({suffixes}).")


@dataclass
class _Reading:
    """Reading of the files of an image set, with what is skipped."""

    skipped: dict[str, str] = field(default_factory=dict)
    """images that are not read: name to reason"""
    n_other_files: int = 0
    empty: list[str] = field(default_factory=list)
    """folders where a class is expected, but no image is"""
    nested: dict[str, list[str]] = field(default_factory=dict)
    """class folders with several folders of images inside them"""
    _readable: frozenset[str] = field(default_factory=readable_suffixes)

    def notes(self) -> Iterator[str]:
        if self.empty:
            yield f"No images in {join(self.empty)}."
        if self.nested:
            outer, inner = next(iter(self.nested.items()))
            more = f" and {len(self.nested) - 1} more" * (len(self.nested) > 1)
            yield f"Folders inside class folders are no classes of their own: {join(inner)} in {outer}{more}."
        if self.n_other_files:
            yield f"{self.n_other_files} other file{'s' * (self.n_other_files > 1)} ignored."

    def images(self, part: Part) -> Iterator[tuple[str, Path, str]]:
        """Yield name, path and class of the images of a part."""
        if part.annotations is not None:
            yield from self._annotated(part, part.annotations)
            return
        self.skip_loose(part.folder)
        for folder in part.folder.children:
            is_class = False
            inner: dict[str, None] = {}
            for name, path in self._files(folder.path, folder.prefix):
                is_class = True
                below = path.relative_to(folder.path).parts
                if len(below) > 1:
                    inner[_as_text(below[0])] = None
                yield name, path, _as_text(folder.name)
            if len(inner) > 1:
                self.nested[_as_text(folder.title)] = sorted(inner)
            if not is_class:
                self.empty.append(_as_text(folder.title))

    def skip_loose(self, folder: Folder) -> None:
        """Note the images that lie directly in a folder around the class folders."""
        for name, _ in self._files(folder.path, folder.prefix, deeper=False):
            self.skipped[name] = "it lies outside of the class folders"

    def _annotated(self, part: Part, annotations: Path) -> Iterator[tuple[str, Path, str]]:
        labels = read_annotations(annotations)
        self.n_other_files -= 1  # the annotations
        missing = set(labels)
        for name, path in self._files(part.folder.path, part.folder.prefix):
            file_name = unicodedata.normalize("NFC", _as_text(path.name))
            label = labels.get(file_name)
            missing.discard(file_name)
            if label is None:
                self.skipped[name] = f"{annotations.name} has no line for it"
            else:
                yield name, path, label
        for file in sorted(missing):
            self.skipped[f"{part.folder.prefix}/{file}"] = f"{annotations.name} lists it, but there is no such image"

    def _files(self, root: Path, prefix: str, *, deeper: bool = True) -> Iterator[tuple[str, Path]]:
        """Yield name and path of the images in a folder, with forward slashes, and note those that are skipped."""
        visited: set[str] = set()
        for folder, inner, files in os.walk(root, onerror=self._unreadable(root, prefix), followlinks=True):
            # A link to a parent folder would otherwise be followed forever.
            real = os.path.realpath(folder)
            if real in visited:
                inner.clear()
                continue
            visited.add(real)
            inner[:] = [name for name in inner if deeper and not name.startswith(".")]
            for file in files:
                path = Path(folder, file)
                if is_image(file, self._readable):
                    yield _name(path, root, prefix), path
                elif reason := self._reason(path):
                    self.skipped[_name(path, root, prefix)] = reason
                else:
                    self.n_other_files += not file.startswith(".")

    def _reason(self, path: Path) -> str | None:
        """Return why a file is skipped that should perhaps be read, or None for a file of another kind."""
        if path.is_symlink() and not path.exists():
            return "the link leads nowhere"  # perhaps a class folder
        return why_skipped(path.name, self._readable)

    def _unreadable(self, root: Path, prefix: str) -> Callable[[OSError], None]:
        def note(error: OSError) -> None:
            self.skipped[_name(Path(error.filename), root, prefix) + "/"] = error.strerror or type(error).__name__

        return note


def _name(path: Path, root: Path, prefix: str) -> str:
    inner = path.relative_to(root).as_posix()
    return _as_text("/".join(part for part in (prefix, inner) if part not in ("", ".")))


def _as_text(name: str) -> str:
    r"""Escape bytes of a file name that are invalid UTF-8 (as ``\udcff``), so it can be hashed, printed and stored."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


DATASETS.add(
    "folder", load, description="folder:PATH, one sub-folder per class; train/ and val/ or test/ are the split"
)
