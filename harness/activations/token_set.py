"""Activation instances on disk: each sampled token's q and a, with its image and position, as memory-mapped shards.

A token set is a folder ``<cache>/tokens/<fingerprint>`` with ``input-00000.npy`` (rows, d_in), ``output-00000.npy``
(rows, d_out), ... and ``index.npz``; ``meta.json`` describes it. It is written under a temporary name and renamed once
it is complete, so a folder with the final name is always complete.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.atomic import create_partial, replace_atomically
from harness.errors import UserError
from methods.base import Reads
from methods.tracing import traced
from results.byte_sizes import size_text

#: Rows per shard: 2**16 rows of 3072 float16 are 400 MB.
SHARD_ROWS = 1 << 16

FORMAT = 1


class TokenSet:
    """Token set on disk; :class:`methods.base.Tokens` is the interface that methods may use."""

    #: :meth:`TokenWriter.add` refuses NaN and infinity, so a fit need not read all tokens once more to look for them.
    finite = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        self._starts = np.concatenate([[0], np.cumsum(self.meta["shards"])]).astype(np.int64)

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
        with np.load(self.folder / "index.npz", allow_pickle=False) as index:
            if "view" in index:
                return np.asarray(index["view"])
        # Sets without it hold the tokens of an image view by view, equally many of each.
        n_views = max(1, int(self.meta["description"].get("crops", 0)))
        _, first, inverse, count = np.unique(self.image, return_index=True, return_inverse=True, return_counts=True)
        rank = np.arange(self.n) - first[inverse]
        return np.asarray(rank * n_views // count[inverse], dtype=np.int64)

    def _index(self, name: str) -> np.ndarray:
        with np.load(self.folder / "index.npz", allow_pickle=False) as index:
            return np.asarray(index[name])

    def check(self) -> None:
        """Raise one of ``cached.DAMAGE`` if a file is missing or its shape differs from that in ``meta.json``."""
        for field in self.meta["widths"]:
            for number, rows in enumerate(self.meta["shards"]):
                if self._shard(field, number).shape != (rows, self.width(field)):
                    raise ValueError("a shard has the wrong shape")
        if self._index("image").shape != (self.n,) or self._index("position").shape != (self.n,):
            raise ValueError("the index has the wrong length")

    @property
    def n(self) -> int:
        return int(self._starts[-1])

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

    def _shard(self, field: Reads, number: int) -> np.ndarray:
        # Opened for each read: a memory map that stays open would keep every page it touched in this process.
        result: np.ndarray = np.load(self.folder / f"{field}-{number:05d}.npy", mmap_mode="r", allow_pickle=False)
        return result

    def batches(self, field: Reads, size: int) -> Iterator[Tensor]:
        for start in range(0, self.n, size):
            yield self.gather(field, np.arange(start, min(start + size, self.n)))

    def gather(self, field: Reads, rows: np.ndarray) -> Tensor:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < self.n:
            raise UserError(f"rows {int(rows.min())} to {int(rows.max())}: there are the rows 0 to {self.n - 1}.")
        gathered = np.empty((len(rows), self.width(field)), dtype=np.float32)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(shards):
            chosen = np.flatnonzero(shards == number)
            gathered[chosen] = self._shard(field, int(number))[rows[chosen] - self._starts[number]]
        return torch.from_numpy(gathered)

    def stored(self, field: Reads, start: int, stop: int) -> Tensor:
        """Return the rows start..stop (stop - start, width) in their type on disk, without a conversion."""
        rows = np.empty((stop - start, self.width(field)), dtype=np.float16 if self.dtype == "float16" else np.float32)
        first, last = np.searchsorted(self._starts, [start, stop - 1], side="right") - 1
        for number in range(first, last + 1):
            offset = int(self._starts[number])
            part = self._shard(field, number)[max(0, start - offset) : stop - offset]
            at = max(start, offset) - start
            rows[at : at + len(part)] = part
        return torch.from_numpy(rows)

    def columns(self, field: Reads, start: int, stop: int) -> Tensor:
        gathered = np.empty((self.n, stop - start), dtype=np.float32)
        for number in range(len(self._starts) - 1):
            gathered[self._starts[number] : self._starts[number + 1]] = self._shard(field, number)[:, start:stop]
        return torch.from_numpy(gathered)


class ShardFile:
    """NumPy file (n, width) that grows row by row, so that its rows need no memory; the file is that of ``np.save``."""

    def __init__(self, file: Path, width: int, dtype: np.dtype[Any]) -> None:
        self.n = 0
        self._header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        self._width = width
        self._file = open(file, "wb")  # noqa: SIM115 - closed by `close`
        self._write_header()

    def add(self, rows: np.ndarray) -> None:
        """Append rows (m, width) of the dtype of the file."""
        self._file.write(np.ascontiguousarray(rows).data)
        self.n += len(rows)

    def close(self) -> None:
        """Write the number of rows. NumPy leaves room for it in the header of any array."""
        with self._file:
            self._file.seek(0)
            self._write_header()

    def abandon(self) -> None:
        """Close the file as it is, on a full disk too."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write_header(self) -> None:
        header = {**self._header, "shape": (self.n, self._width)}
        np.lib.format.write_array_header_1_0(self._file, header)


class TokenWriter:
    """Writer of one token set, shard by shard. Nothing exists under the final name before :meth:`finish`."""

    def __init__(self, target: Path, *, dtype: str = "float32", description: dict[str, Any] | None = None) -> None:
        self.target = target
        self.folder = create_partial(target, folder=True)
        self.dtype = np.dtype(dtype)
        self.meta: dict[str, Any] = {
            "format": FORMAT,
            "fingerprint": target.name,
            "dtype": dtype,
            "description": description or {},
            "shards": [],
            "widths": {},
        }
        self._shards: dict[str, ShardFile] = {}
        self._index: dict[str, list[np.ndarray]] = {"image": [], "position": [], "label": [], "view": []}

    @traced("copies to the host and writing of tokens")
    def add(
        self,
        image: np.ndarray,
        position: np.ndarray,
        label: np.ndarray,
        *,
        view: np.ndarray | None = None,
        **fields: Tensor,
    ) -> None:
        """Append rows: (m,) index arrays, and one (m, width) tensor per field ("input", "output"); default view: 0."""
        view = np.zeros(len(image), dtype=np.int64) if view is None else view
        for name, values in (("image", image), ("position", position), ("label", label), ("view", view)):
            self._index[name].append(np.asarray(values))
        arrays: dict[str, np.ndarray] = {}
        for field, tensor in fields.items():
            with np.errstate(over="ignore"):  # values that overflow are refused just below
                rows = tensor.detach().cpu().numpy().astype(self.dtype)
            if not np.isfinite(rows).all():
                raise UserError(
                    f"Activations of the layer's {field} do not fit in {self.dtype} (or are not finite): set "
                    'probing.dtype = "float32".'
                )
            arrays[field] = rows
            self.meta["widths"][field] = rows.shape[1]
        written = 0
        while written < len(image):
            if not self._shards:
                number = len(self.meta["shards"])
                for field, rows in arrays.items():
                    file = self.folder / f"{field}-{number:05d}.npy"
                    self._shards[field] = ShardFile(file, rows.shape[1], self.dtype)
            room = SHARD_ROWS - next(iter(self._shards.values())).n
            for field, rows in arrays.items():
                self._shards[field].add(rows[written : written + room])
            written += min(room, len(image) - written)
            if next(iter(self._shards.values())).n == SHARD_ROWS:
                self._close_shards()

    def _close_shards(self) -> None:
        if self._shards:
            self.meta["shards"].append(next(iter(self._shards.values())).n)
        while self._shards:
            self._shards.popitem()[1].close()

    @traced("copies to the host and writing of tokens")
    def finish(self, skipped: dict[str, str] | None = None) -> TokenSet:
        """Write the buffered rows, make the folder durable and rename it to its final name.

        Args:
            skipped: images that could not be read, name to reason; stored with the set, see :func:`read_cached`.

        Raises:
            UserError: if no token was added.
        """
        self._close_shards()
        if not self.meta["shards"]:
            self.discard()
            raise UserError("No token was captured: the image set is empty or none of its images could be read.")
        np.savez(
            self.folder / "index.npz",
            image=np.concatenate(self._index["image"]).astype(np.int64),
            position=np.concatenate(self._index["position"]).astype(np.int32),
            label=np.concatenate(self._index["label"]).astype(np.int64),
            view=np.concatenate(self._index["view"]).astype(np.int64),
        )
        self.meta["skipped"] = skipped or {}
        (self.folder / "meta.json").write_text(json.dumps(self.meta, sort_keys=True))
        replace_atomically(self.folder, self.target)
        return TokenSet(self.target)

    def discard(self) -> None:
        """Remove the files written so far."""
        while self._shards:
            self._shards.popitem()[1].abandon()
        shutil.rmtree(self.folder, ignore_errors=True)


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
