"""Set of labelled images: its records, identity and split, and the reading of one image."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import unicodedata
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
from PIL import Image

from harness.datasets import contents, files, pixels
from harness.datasets.contents_cache import Stamp
from harness.datasets.hierarchy import ClassHierarchy
from methods.errors import UserError


class ImageRecord(NamedTuple):
    """Record of one image. ``name`` is its identity: its path relative to the set's folder, with forward slashes."""

    name: str
    path: Path
    label: int | None


class BrokenImageError(Exception):
    """Exception of :meth:`ImageSet.open`: the image ``name`` could not be read, for a ``reason``."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class Reader(Protocol):
    """Interface of the source of a record's encoded bytes. A subclass needs only :meth:`read`."""

    @abstractmethod
    def read(self, record: ImageRecord) -> bytes:
        """Return all encoded bytes."""

    def head(self, record: ImageRecord, count: int) -> bytes:
        """Return the first ``count`` encoded bytes (fewer if there are fewer)."""
        return self.read(record)[:count]

    def size(self, record: ImageRecord) -> int:
        """Return the number of encoded bytes."""
        return len(self.read(record))

    def open(self, record: ImageRecord) -> BinaryIO:
        """Return the encoded bytes as an open file, of which only a part may be read."""
        return io.BytesIO(self.read(record))

    def stamp(self, record: ImageRecord) -> Stamp | None:
        """Return evidence of whether the encoded bytes have changed, without reading them; None if there is none."""
        return None


class FileReader(Reader):
    """Reader of records that are files."""

    def read(self, record: ImageRecord) -> bytes:
        return files.read(record.path)

    def head(self, record: ImageRecord, count: int) -> bytes:
        with files.open_regular(record.path) as file:
            return file.read(count)

    def size(self, record: ImageRecord) -> int:
        return files.regular_size(record.path)

    def open(self, record: ImageRecord) -> BinaryIO:
        return files.open_regular(record.path)

    def stamp(self, record: ImageRecord) -> Stamp | None:
        return Stamp.of(record.path)


class PredefinedSplit(NamedTuple):
    """Positions of a set's records in its predefined split: training images (for probing) and evaluation images."""

    probing: np.ndarray
    evaluation: np.ndarray

    @classmethod
    def by_folder(cls, records: Sequence[ImageRecord], probing: str) -> PredefinedSplit:
        """Return the split in which the records whose name starts with ``probing/`` are the training images."""
        trains = np.fromiter((record.name.startswith(f"{probing}/") for record in records), bool, len(records))
        return cls(np.flatnonzero(trains), np.flatnonzero(~trains))


class DatasetSplit(NamedTuple):
    """Two disjoint sets: activations are probed and methods fitted on one, and scores are computed on the other."""

    probing: ImageSet
    evaluation: ImageSet


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images, sorted by name.

    Attributes:
        name: the set's spec without machine paths (``"photos"``, ``"folder:NAME"``).
        records: sorted by name.
        classes: class names; a record's ``label`` is an index into them.
        reader: source of the bytes of a record.
        predefined_split: the split that comes with the set (``train/`` and ``val/`` folders), or None.
        skipped: images of the set that are not among the records, name to reason.
        notes: sentences for the user about how the set was read.
        sample_depth: significant bits of images with 16 bits per sample, shared with all subsets.
        class_hierarchy: parents above the classes, or None. No part of :attr:`fingerprint`.

    Raises:
        UserError: if the hierarchy is of another number of classes.
    """

    name: str
    records: tuple[ImageRecord, ...]
    classes: tuple[str, ...]
    reader: Reader = field(default_factory=FileReader, repr=False)
    predefined_split: PredefinedSplit | None = field(default=None, repr=False)
    skipped: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    sample_depth: pixels.SampleDepth = field(default=None, repr=False)  # type: ignore[assignment]  # set below
    class_hierarchy: ClassHierarchy | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.class_hierarchy is not None and len(self.class_hierarchy.parent_of) != len(self.classes):
            raise UserError(
                f"{self.name!r} has {len(self.classes)} classes, and its class hierarchy is of "
                f"{len(self.class_hierarchy.parent_of)}: parent_of must have one entry per class."
            )
        if self.sample_depth is None:
            object.__setattr__(self, "sample_depth", pixels.SampleDepth(self.records, self.reader))

    @classmethod
    def labelled(
        cls,
        name: str,
        images: Sequence[tuple[str, Path, str]],
        *,
        probing_folder: str | None = None,
        skipped: Mapping[str, str] = MappingProxyType({}),
        notes: tuple[str, ...] = (),
    ) -> ImageSet:
        """Return the set of the files ``images`` (name, path, class name), sorted by name; its classes are sorted.

        Class names are brought into the Unicode form NFC, so that names which look alike are one class.

        Args:
            probing_folder: folder of the training images of a predefined split, the first part of their names.
            skipped: images that are left out, name to reason.
            notes: sentences for the user about how the set was read.
        """
        form = {label: unicodedata.normalize("NFC", label) for _, _, label in images}
        classes = tuple(sorted(set(form.values())))
        number = {label: index for index, label in enumerate(classes)}
        records = tuple(ImageRecord(image, path, number[form[label]]) for image, path, label in images)
        split = None if probing_folder is None else PredefinedSplit.by_folder(records, probing_folder)
        return cls(name, records, classes, predefined_split=split, skipped=skipped, notes=notes)

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int64, -1 for an image without a label."""
        return np.fromiter((-1 if r.label is None else r.label for r in self.records), np.int64, len(self.records))

    @cached_property
    def contents(self) -> contents.Contents:
        """Identity of the contents and of each image, computed at the first access and cached."""
        return contents.read_contents(self.records, self.reader, self.sample_depth)

    @property
    def fingerprint(self) -> str:
        """Identity of the contents: ``"content:..."``, or ``"sampled:..."`` for a large set.

        See :func:`harness.datasets.contents.read_contents`. No file is decoded, so it need not be an image.
        """
        return self.contents.fingerprint

    def subset(self, indices: Iterable[int] | np.ndarray) -> ImageSet:
        """Return the set of the records at ``indices``, sorted by name.

        The result has the same classes, hierarchy, skipped images and notes, and no predefined split.

        Raises:
            UserError: if an index is out of range or occurs twice.
        """
        chosen = sorted(int(index) for index in indices)
        for index in chosen[:1] + chosen[-1:]:
            if not 0 <= index < len(self):
                raise UserError(f"{self.name!r} has images 0 to {len(self) - 1}, but no image {index}.")
        if len(set(chosen)) != len(chosen):
            raise UserError(f"A subset of {self.name!r} cannot contain an image twice.")
        records = tuple(self.records[index] for index in chosen)
        return dataclasses.replace(self, records=records, predefined_split=None)

    def split(self, *, evaluation: int | float, seed: int = 0) -> DatasetSplit:
        """Split into a probing and an evaluation set, with each class in proportion.

        A predefined split is returned as it is. Otherwise class c with n_c of the n images contributes
        ``evaluation * n_c / n`` images to the evaluation set (``evaluation`` as a number of images), rounded by largest
        remainders (ties to the lower class). Images without a label count as one class. The images are chosen by a hash
        of seed and name, so the choice does not depend on the version of a random generator, and depends little on the
        other images.

        Args:
            evaluation: number of images to evaluate on (int), or their fraction (float between 0 and 1).

        Raises:
            UserError: if there are not enough images to leave at least one on each side.
        """
        if self.predefined_split is not None:
            return DatasetSplit(
                self.subset(self.predefined_split.probing), self.subset(self.predefined_split.evaluation)
            )
        n_evaluation = self._evaluation_count(evaluation)
        members = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        chosen: list[int] = []
        for positions, count in zip(members, _largest_remainders([len(m) for m in members], n_evaluation), strict=True):
            order = sorted(positions.tolist(), key=lambda index: _hashed(seed, self.records[index].name))
            chosen.extend(order[:count])
        return DatasetSplit(self.subset(set(range(len(self))) - set(chosen)), self.subset(chosen))

    def _evaluation_count(self, evaluation: int | float) -> int:
        if isinstance(evaluation, bool) or not isinstance(evaluation, int | float):
            raise UserError(f"The evaluation split is {evaluation!r}: it must be a number of images or a fraction.")
        if isinstance(evaluation, float) and not 0 < evaluation < 1:
            raise UserError(f"The fraction for the evaluation split is {evaluation}: it must be between 0 and 1.")
        count = round(evaluation * len(self)) if isinstance(evaluation, float) else evaluation
        if len(self) < 2:
            n_images = "1 image" if len(self) else "0 images"
            raise UserError(f"{self.name!r} has {n_images}: at least two are needed, to probe and to evaluate on.")
        if not 0 < count < len(self):
            raise UserError(
                f"{self.name!r} has {len(self)} images: an evaluation split of {count} leaves none on one side. "
                f"Use 1 to {len(self) - 1}."
            )
        return count

    def open(self, index: int) -> Image.Image:
        """Open the image at ``index`` as RGB, rotated according to its EXIF orientation.

        Transparent pixels are put on white, and samples of more than 8 bits are scaled
        (:mod:`harness.datasets.pixels`).

        Raises:
            BrokenImageError: with the reason, if the image cannot be read or decoded, or what is white is unknown.
        """
        record = self.records[index]
        try:
            with Image.open(io.BytesIO(self.reader.read(record))) as image:
                return pixels.as_rgb(image, self.sample_depth)
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
            raise BrokenImageError(record.name, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no image format is recognised in it"  # Pillow's message contains the memory address of the buffer
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which depends on this machine
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _largest_remainders(sizes: list[int], total: int) -> list[int]:
    """Return integers in proportion to ``sizes`` that sum to ``total``, computed exactly in integer arithmetic."""
    everything = sum(sizes)
    counts = [total * size // everything for size in sizes]
    remainders = [total * size % everything for size in sizes]
    for index in sorted(range(len(sizes)), key=lambda i: (-remainders[i], i))[: total - sum(counts)]:
        counts[index] += 1
    return counts


def _hashed(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}|{name}".encode(), digest_size=16).digest()
