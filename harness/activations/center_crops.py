"""Centre crops of an image set, decoded once and then read from a file of 8-bit pixels.

Every pass over an evaluation split reads the same crops, and so do all sites, heads and backbones that resize and crop
alike. The first pass writes them to one file; later passes read it. The file holds the pixels before the normalisation,
which are integers from 0 to 255 for every format of image, so the network's input is the same to the bit.

The file has n rows of ``size * size * 3`` bytes, then n + 1 numbers of 8 bytes: of each row its CRC-32 plus 2**32, or 0
if the row is empty, and the CRC-32 of these numbers. A row that is empty (the image could not be read) or damaged is
decoded from the image.
"""

from __future__ import annotations

import os
import shutil
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from torch import Tensor

from harness.activations.cached import DAMAGE, require_regular_files
from harness.alterations import Alteration
from harness.atomic import create_partial, remove, replace_atomically
from harness.backbones.preprocessing import Preprocessing
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport, ImageBatch, prepared_batches
from harness.errors import UserError
from harness.identity import digest
from results.byte_sizes import size_text

#: Largest file, in bytes: 456,000 images of 224 px. Larger image sets are decoded in every pass.
SIZE_LIMIT = 64 << 30
#: Bytes of the disk that are left free.
SPARE = 2 << 30

FORMAT = 1
_STORED = 1 << 32

#: Files that could not be made, of which a warning has been given. Every pass tries again.
_warned: set[Path] = set()


class CropFolder(NamedTuple):
    """Folder of the files of crops."""

    folder: Path
    spare: int = SPARE
    """bytes of the disk that must stay free for other files"""

    @classmethod
    def of(cls, cache: Path, needed: int = 0) -> CropFolder:
        """Return the folder in ``cache``, whose files leave ``needed`` bytes of the disk for others."""
        return cls(cache / "crops", SPARE + needed)

    def file(self, images: ImageSet, preprocessing: Preprocessing) -> Path:
        """Return the path of the crops of a set: they depend on its content, the geometry and Pillow's version."""
        source = {"format": FORMAT, "images": images.fingerprint, "decoder": f"Pillow {PIL.__version__}"}
        return self.folder / f"{digest({**source, **preprocessing.geometry()}, length=24)}.u8"


def file_size(n_images: int, preprocessing: Preprocessing) -> int:
    """Return the bytes of the file of ``n_images`` crops."""
    return n_images * (_row_bytes(preprocessing) + 8) + 8


def center_batches(
    images: ImageSet,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    report: BrokenReport,
    crops: CropFolder | None,
    positions: np.ndarray | None = None,
    alteration: Alteration | None = None,
) -> Iterator[ImageBatch]:
    """Yield the centre crops of a set as :func:`harness.datasets.loading.batches` does, each decoded at most once.

    A complete pass over at least half of the images writes the file if there is none. A set whose file would exceed
    :data:`SIZE_LIMIT`, or the free space of the disk, is decoded; so are the crops of a preprocessing of another class.

    Args:
        crops: None to decode all images.
        positions: (n,) ascending positions of the images that are read; None for all. The batches' ``index`` holds
            these.
        alteration: change of each crop; the file holds the unchanged ones.

    Raises:
        UserError: if crops are to be altered, and the preprocessing is of another class.
    """
    if alteration is not None and type(preprocessing) is not Preprocessing:
        raise UserError(
            f"Images cannot be altered for a preprocessing of the class {type(preprocessing).__name__}: its pixels "
            "before the normalisation are unknown. Use a backbone with the class Preprocessing."
        )
    chosen = np.arange(len(images)) if positions is None else positions
    with ExitStack() as open_files:
        # A subclass may compute something else from the pixels.
        if crops is None or type(preprocessing) is not Preprocessing:
            reader, writer = None, None
        else:
            file = crops.file(images, preprocessing)
            reader = _opened(file, len(images), preprocessing)
            worthwhile = reader is None and 2 * len(chosen) >= len(images)
            writer = _writer(file, len(images), preprocessing, crops.spare) if worthwhile else None
        for opened in (reader, writer):
            if opened is not None:
                open_files.callback(opened.close)

        def finish(pixels: np.ndarray, index: int) -> Tensor:
            changed = pixels if alteration is None else alteration.altered(pixels, images.records[index].name)
            return preprocessing.normalised(changed)

        def prepare(index: int) -> Tensor:
            stored = reader.pixels(index) if reader else None
            if stored is not None:
                return finish(stored, index)
            image = images.open(index)
            if reader:
                reader.is_outdated = True
            if type(preprocessing) is not Preprocessing:
                return preprocessing.center(image)
            pixels = preprocessing.center_pixels(image)
            if writer:
                writer.add(index, pixels)
            return finish(pixels, index)

        stream = prepared_batches(images, chosen.tolist(), prepare, batch_size=batch_size, report=report)
        # Closed before the files: its threads use them.
        yield from open_files.enter_context(closing(stream))
        if writer:
            writer.finish()
        if reader and reader.is_outdated:
            remove(reader.file)


def _row_bytes(preprocessing: Preprocessing) -> int:
    return 3 * preprocessing.size**2


class _Reader:
    """Open file of crops. Rows are read by position, which is safe in threads and keeps no page in this process.

    Raises:
        OSError, ValueError: if the file is missing or damaged.
    """

    def __init__(self, file: Path, n_images: int, preprocessing: Preprocessing) -> None:
        require_regular_files(file)
        self.file = file
        self.is_outdated = False
        """True once an image was decoded, whose row is empty or damaged"""
        self._row_bytes = _row_bytes(preprocessing)
        self._shape = (preprocessing.size, preprocessing.size, 3)
        if file.stat().st_size != file_size(n_images, preprocessing):
            raise ValueError(f"{file.name} has the wrong size")
        self._table = np.fromfile(file, np.uint64, offset=n_images * self._row_bytes)
        if len(self._table) != n_images + 1 or int(self._table[-1]) != zlib.crc32(self._table[:-1].tobytes()):
            raise ValueError(f"{file.name} is damaged")
        self._descriptor = os.open(file, os.O_RDONLY)

    def pixels(self, index: int) -> np.ndarray | None:
        """Return the crop (size, size, 3) uint8 of an image; None if its row is empty or damaged."""
        check = int(self._table[index])
        if not check:
            return None
        try:
            row = os.pread(self._descriptor, self._row_bytes, index * self._row_bytes)
        except OSError:
            row = b""
        if len(row) != self._row_bytes or zlib.crc32(row) + _STORED != check:
            return None
        return np.frombuffer(row, np.uint8).reshape(self._shape)

    def close(self) -> None:
        os.close(self._descriptor)


class _Writer:
    """Writer of a file of crops, which appears under its name with :meth:`finish`. Rows may be added by threads."""

    def __init__(self, file: Path, n_images: int, preprocessing: Preprocessing) -> None:
        self._file = file
        self._row_bytes = _row_bytes(preprocessing)
        self._table = np.zeros(n_images + 1, np.uint64)
        self._is_usable = True
        self._partial = create_partial(file, folder=False)
        self._descriptor = os.open(self._partial, os.O_WRONLY)

    def add(self, index: int, pixels: np.ndarray) -> None:
        """Write the crop of an image. If the disk is full, the file is given up and the pass goes on."""
        row = pixels.tobytes()
        try:
            if self._is_usable and os.pwrite(self._descriptor, row, index * self._row_bytes) == len(row):
                self._table[index] = zlib.crc32(row) + _STORED
        except OSError:
            self._is_usable = False

    def finish(self) -> None:
        self._table[-1] = zlib.crc32(self._table[:-1].tobytes())
        try:
            if self._is_usable:
                table = self._table.tobytes()
                if os.pwrite(self._descriptor, table, (len(self._table) - 1) * self._row_bytes) == len(table):
                    replace_atomically(self._partial, self._file)
        except OSError:
            pass  # the crops are decoded again in the next pass

    def close(self) -> None:
        os.close(self._descriptor)
        remove(self._partial)


def _opened(file: Path, n_images: int, preprocessing: Preprocessing) -> _Reader | None:
    """Return the reader of a file; None if it is missing, or damaged and therefore removed."""
    if not file.exists():
        return None
    try:
        return _Reader(file, n_images, preprocessing)
    except PermissionError:
        return None
    except DAMAGE:
        remove(file)
        return None


def _writer(file: Path, n_images: int, preprocessing: Preprocessing, spare: int) -> _Writer | None:
    """Return a writer; None if the file is too large, or the folder cannot be written or has no room for it."""
    size = file_size(n_images, preprocessing)
    if size > SIZE_LIMIT:
        return None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(file.parent).free
        if size + spare <= free:
            return _Writer(file, n_images, preprocessing)
        problem = f"{size_text(free)} are free and {size_text(spare)} are kept for other files"
    except (OSError, UserError) as error:
        problem = f"no file can be written ({getattr(error, 'strerror', None) or error})"
    if file not in _warned:
        _warned.add(file)
        warnings.warn(
            f"The {n_images} images are decoded again in every pass: their crops would take {size_text(size)} at "
            f"{str(file.parent)!r}, where {problem}. Give another folder with --cache.",
            RuntimeWarning,
            stacklevel=2,
        )
    return None
