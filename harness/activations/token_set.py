"""Activation instances on disk: each sampled token's q and a, with its image and position, as memory-mapped parts.

A token set is a folder ``<cache>/tokens/<fingerprint>`` with ``input-00000.npy`` (rows, d_in), ``output-00000.npy``
(rows, d_out), ... and ``index.npz``; ``meta.json`` describes it. It is written under a temporary name and renamed once
it is complete, so a folder with the final name is always complete (:mod:`harness.activations.token_writer`).

Rows are numbered in the order in which they were captured: image by image. A set of several parts is *scattered*: the
part of each row was drawn at random, so that training reads random subsets of a set that does not fit into memory, a
file at a time. Within a part the rows ascend, so consecutive rows are a range of each file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from harness.errors import ArgumentError, UserError, first_line
from methods.base import Reads
from results.byte_sizes import size_text

#: Rows per part: 2**16 rows of 3072 float16 are 400 MB.
PART_ROWS = 1 << 16

#: Version of the files. In version 1 the parts of a set were consecutive rows.
FORMAT = 2


class _Rows(NamedTuple):
    """Place of each row in the files."""

    part: np.ndarray
    """(n,) part of each row"""
    inside: np.ndarray
    """(n,) index of each row in its part"""
    members: tuple[np.ndarray, ...]
    """per part: its rows, ascending"""


def _places(part: np.ndarray, n_parts: int) -> _Rows:
    """Return where rows are whose parts are given: (n,) integers below ``n_parts``."""
    order = np.argsort(part, kind="stable")
    sizes = np.bincount(part, minlength=n_parts)
    inside = np.empty(len(part), dtype=np.int64)
    inside[order] = np.arange(len(part)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return _Rows(part, inside, tuple(np.split(order, np.cumsum(sizes)[:-1])))


class TokenSet:
    """Token set on disk; :class:`methods.base.Tokens` is the interface that methods may use."""

    #: :meth:`TokenWriter.add` refuses NaN and infinity, so a fit need not read all tokens once more to look for them.
    finite = True

    def __init__(self, folder: str | Path) -> None:
        """Read ``meta.json``; arrays are read when they are needed.

        Raises:
            ArgumentError: if there is no token set at ``folder``, or it is damaged. It is one of ``cached.DAMAGE``.
        """
        self.folder = Path(folder)
        with self._readable():
            self.meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())
            version = self.meta["format"]
            if type(version) is not int or version not in (1, FORMAT):
                raise ValueError(f"`format` is {version!r}; this version of the harness reads 1 and {FORMAT}")
            self._sizes: list[int] = list(self.meta["shards" if version == 1 else "parts"])
            if not all(type(size) is int and size > 0 for size in self._sizes):
                raise ValueError("the sizes of the parts are no positive whole numbers")
            self._is_scattered: bool = version != 1 and self.meta["scattered"]
            if type(self._is_scattered) is not bool:
                raise ValueError(f"`scattered` is {self._is_scattered!r}; it must be true or false")

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what a missing or damaged file raises into an ArgumentError with the folder and what to do."""
        where = repr(str(self.folder))
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            if not self.folder.is_dir():
                raise ArgumentError(f"There is no token set at {where}: give the folder of one that exists.") from error
            name = Path(str(error.filename)).name
            raise ArgumentError(
                f"The token set at {where} lacks the file {name!r}: delete the folder and collect the tokens again."
            ) from error
        except ArgumentError:
            raise
        except (ValueError, LookupError, AttributeError, TypeError, EOFError, RecursionError, BadZipFile) as error:
            raise ArgumentError(
                f"The token set at {where} is damaged ({first_line(error)}): delete the folder and collect the tokens "
                "again."
            ) from error

    @cached_property
    def image(self) -> np.ndarray:
        return self._index("image")

    @cached_property
    def position(self) -> np.ndarray:
        return self._index("position")

    @cached_property
    def label(self) -> np.ndarray:
        return self._index("label")

    @cached_property
    def view(self) -> np.ndarray:
        """(n,) int64: view (crop) of its image that each token is of."""
        with self._readable(), np.load(self.folder / "index.npz", allow_pickle=False) as index:
            if "view" in index:
                return np.asarray(index["view"])
        # Sets without it hold the tokens of an image view by view, equally many of each.
        n_views = max(1, int(self.meta["description"].get("crops", 0)))
        _, first, inverse, count = np.unique(self.image, return_index=True, return_inverse=True, return_counts=True)
        rank = np.arange(self.n) - first[inverse]
        return np.asarray(rank * n_views // count[inverse], dtype=np.int64)

    def _index(self, name: str) -> np.ndarray:
        with self._readable(), np.load(self.folder / "index.npz", allow_pickle=False) as index:
            return np.asarray(index[name])

    def check(self) -> None:
        """Raise one of ``cached.DAMAGE`` if a file is missing, or its shape or type differs from ``meta.json``."""
        with self._readable():
            for field in self.meta["widths"]:
                for number, rows in enumerate(self._sizes):
                    part = self._part(field, number)
                    if part.shape != (rows, self.width(field)):
                        raise ValueError(f"part {number} of {field} has the shape {part.shape}")
                    if str(part.dtype) != self.dtype or part.dtype != self._stored_type:
                        raise ValueError(f"part {number} of {field} is {part.dtype}, not {self.dtype}")
            with np.load(self.folder / "index.npz", allow_pickle=False) as index:
                # Sets that were written by earlier versions lack the view.
                for name in ("image", "position", "label", *({"view"} & set(index))):
                    if index[name].shape != (self.n,):
                        raise ValueError(f"{name!r} of the index has the shape {index[name].shape}, not {(self.n,)}")
            if [len(members) for members in self._rows.members] != self._sizes:
                raise ValueError("the index has other parts than the files")

    @property
    def n(self) -> int:
        return sum(self._sizes)

    @property
    def dtype(self) -> str:
        """Type on disk: "float32" or "float16"."""
        return str(self.meta["dtype"])

    @property
    def fingerprint(self) -> str:
        return str(self.meta["fingerprint"])

    def width(self, field: Reads) -> int:
        if field not in self.meta["widths"]:
            names = " and ".join(map(repr, self.meta["widths"]))
            raise UserError(
                f"These tokens have no field {field!r}, they have {names}; only a linear layer has an input."
            )
        return int(self.meta["widths"][field])

    @cached_property
    def _rows(self) -> _Rows:
        n_parts = len(self._sizes)
        if not self._is_scattered:
            return _places(np.repeat(np.arange(n_parts), self._sizes), n_parts)
        part = self._index("part")
        with self._readable():
            if part.shape != (self.n,) or part.dtype != np.uint32 or int(part.max()) >= n_parts:
                raise ValueError("the index has other parts than the files")
        return _places(part.astype(np.int64), n_parts)

    @property
    def random_parts(self) -> Sequence[np.ndarray] | None:
        """Rows (m,) of each part, ascending, if each is a random subset of all rows; else None."""
        return self._rows.members if self._is_scattered else None

    def _part(self, field: Reads, number: int) -> np.ndarray:
        # Opened for each read: a memory map that stays open would keep every page it touched in this process.
        file = self.folder / f"{field}-{number:05d}.npy"
        with self._readable():
            result: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        return result

    def batches(self, field: Reads, size: int) -> Iterator[Tensor]:
        for start in range(0, self.n, size):
            yield self._read(field, slice(start, min(start + size, self.n)), np.float32)

    def gather(self, field: Reads, rows: np.ndarray) -> Tensor:
        return self._read(field, self._checked(rows), np.float32)

    def stored(self, field: Reads, start: int, stop: int) -> Tensor:
        """Return the rows start..stop (stop - start, width) in their type on disk, without a conversion."""
        return self._read(field, slice(start, stop), self._stored_type)

    def stored_at(self, field: Reads, rows: np.ndarray) -> Tensor:
        """Return the given rows (len(rows), width) in their type on disk; whole parts are read as they lie there."""
        return self._read(field, self._checked(rows), self._stored_type)

    def columns(self, field: Reads, start: int, stop: int) -> Tensor:
        gathered = np.empty((self.n, stop - start), dtype=np.float32)
        for number, rows in enumerate(self._rows.members):
            gathered[_as_slice(rows)] = self._part(field, number)[:, start:stop]
        return torch.from_numpy(gathered)

    @property
    def _stored_type(self) -> type[np.float16] | type[np.float32]:
        return np.float16 if self.dtype == "float16" else np.float32

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < self.n:
            raise UserError(f"rows {int(rows.min())} to {int(rows.max())}: there are the rows 0 to {self.n - 1}.")
        return rows

    def _read(self, field: Reads, rows: np.ndarray | slice, dtype: type[np.float16] | type[np.float32]) -> Tensor:
        """Return rows (m, width) of a field in the given type."""
        part, inside = self._rows.part[rows], self._rows.inside[rows]
        result = np.empty((len(part), self.width(field)), dtype=dtype)
        order = np.argsort(part, kind="stable")
        numbers, starts = np.unique(part[order], return_index=True)
        stops = np.append(starts, len(order))[1:]
        for number, start, stop in zip(numbers.tolist(), starts, stops, strict=True):
            at = order[start:stop]
            result[_as_slice(at)] = self._part(field, number)[_as_slice(inside[at])]
        return torch.from_numpy(result)


def _as_slice(index: np.ndarray) -> np.ndarray | slice:
    """Return consecutive ascending indices as a slice, which is read and written without an index per row."""
    if len(index) and int(index[-1]) - int(index[0]) == len(index) - 1 and bool((np.diff(index) == 1).all()):
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def sample(n_tokens: int, per_image: int | None, generator: torch.Generator) -> Tensor:
    """Draw the indices (m,) of the tokens sampled from one view, ascending.

    ``per_image`` tokens are drawn without replacement; None, or a number that is at least ``n_tokens``, keeps all.
    """
    if per_image is None or per_image >= n_tokens:
        return torch.arange(n_tokens)
    return torch.randperm(n_tokens, generator=generator)[:per_image].sort().values


def check_disk(cache: Path, n_tokens: int, widths: Sequence[int], dtype: str) -> int:
    """Check that the disk has room for ``n_tokens`` tokens of the given widths, and return their size in bytes.

    Raises:
        UserError: if there is not enough; the message gives the size that is needed and the free space.
    """
    needed = n_tokens * sum(widths) * int(np.dtype(dtype).itemsize)
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if needed > free:
        raise UserError(
            f"{n_tokens} tokens take {size_text(needed)} as {dtype}, and {size_text(free)} are free at "
            f"{str(cache)!r}: give another folder with --cache, sample fewer tokens, or use float16."
        )
    return needed
