"""Writing of token sets (:mod:`harness.activations.token_set`)."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from harness.activations import token_set
from harness.activations.token_set import FORMAT, TokenSet
from harness.atomic import create_partial, replace_atomically
from harness.errors import UserError
from harness.identity import seed_of
from methods.tracing import traced

#: Bytes of a scattered set that are gathered before they are appended to the parts, so that each write is long.
BUFFER_BYTES = 32 << 20


class PartFile:
    """NumPy file (n, width) that grows row by row, so that its rows need no memory; the file is that of ``np.save``.

    It is opened for each write: a pass may write more parts than a process may have open files.
    """

    def __init__(self, file: Path, width: int, dtype: np.dtype[Any]) -> None:
        self.n = 0
        self._path = file
        self._header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        self._width = width
        self._write_header("xb")

    def add(self, rows: np.ndarray) -> None:
        """Append rows (m, width) of the dtype of the file."""
        with open(self._path, "ab") as stream:
            stream.write(np.ascontiguousarray(rows).data)
        self.n += len(rows)

    def close(self) -> None:
        """Write the number of rows. NumPy leaves room for it in the header of any array."""
        self._write_header("r+b")

    def _write_header(self, mode: str) -> None:
        header = {**self._header, "shape": (self.n, self._width)}
        with open(self._path, mode) as stream:
            np.lib.format.write_array_header_1_0(stream, header)


class TokenWriter:
    """Writer of one token set. Nothing exists under the final name before :meth:`finish`.

    Args:
        target: folder of the token set.
        dtype: type of the rows on disk.
        description: stored with the set.
        expected: number of rows, if it is about known. The set is then scattered over as many parts as that takes: the
            part of each row is drawn from one stream, the same for all sets. None: its parts are consecutive rows.
    """

    def __init__(
        self,
        target: Path,
        *,
        dtype: str = "float32",
        description: dict[str, Any] | None = None,
        expected: int | None = None,
    ) -> None:
        self.target = target
        self.folder = create_partial(target, folder=True)
        self.dtype = np.dtype(dtype)
        self.n = 0
        self.widths: dict[str, int] = {}
        self.description = description or {}
        self._n_parts = None if expected is None else max(1, math.ceil(expected / token_set.PART_ROWS))
        self._stream = np.random.default_rng(seed_of("parts of a token set"))
        self._files: dict[tuple[str, int], PartFile] = {}
        self._index: dict[str, list[np.ndarray]] = {"image": [], "position": [], "label": [], "view": [], "part": []}
        self._waiting: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        self._waiting_bytes = 0

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
        """Append rows: (m,) index arrays, and one (m, width) tensor per field ("input", "output"); default view: 0.

        Raises:
            UserError: if a value is not finite in the type on disk.
        """
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
            self.widths[field] = rows.shape[1]
        part = self._drawn(len(image))
        view = np.zeros(len(image), dtype=np.int64) if view is None else view
        index = {"image": image, "position": position, "label": label, "view": view, "part": part}
        for name, values in index.items():
            self._index[name].append(np.asarray(values))
        self.n += len(image)
        if self._n_parts is None or self._n_parts == 1:
            self._write(part, arrays)
            return
        self._waiting.append((part, arrays))
        self._waiting_bytes += sum(rows.nbytes for rows in arrays.values())
        if self._waiting_bytes >= BUFFER_BYTES:
            self._flush()

    def _drawn(self, n: int) -> np.ndarray:
        """Return the (n,) parts of the next rows."""
        if self._n_parts is None:
            return (self.n + np.arange(n)) // token_set.PART_ROWS
        # One number per row, so that the batches in which rows are added have no effect.
        return (self._stream.random(n) * self._n_parts).astype(np.int64)

    def _flush(self) -> None:
        """Append the rows that wait to their parts."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if waiting:
            fields = waiting[0][1]
            self._write(
                np.concatenate([part for part, _ in waiting]),
                {field: np.concatenate([arrays[field] for _, arrays in waiting]) for field in fields},
            )

    def _write(self, part: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        for number in np.unique(part).tolist():
            chosen = part == number
            for field, rows in arrays.items():
                key = (field, number)
                if key not in self._files:
                    file = self.folder / f"{field}-{number:05d}.npy"
                    self._files[key] = PartFile(file, rows.shape[1], self.dtype)
                self._files[key].add(rows if bool(chosen.all()) else rows[chosen])

    @traced("copies to the host and writing of tokens")
    def finish(self, skipped: dict[str, str] | None = None) -> TokenSet:
        """Write the rows that wait, make the folder durable and rename it to its final name.

        Args:
            skipped: images that could not be read, name to reason; stored with the set, see :func:`read_cached`.

        Raises:
            UserError: if no token was added.
        """
        if not self.n:
            self.discard()
            raise UserError("No token was captured: the image set is empty or none of its images could be read.")
        self._flush()
        for file in self._files.values():
            file.close()
        part = np.concatenate(self._index["part"])
        used, number = np.unique(part, return_inverse=True)
        self._rename(used)
        np.savez(
            self.folder / "index.npz",
            image=np.concatenate(self._index["image"]).astype(np.int64),
            position=np.concatenate(self._index["position"]).astype(np.int32),
            label=np.concatenate(self._index["label"]).astype(np.int64),
            view=np.concatenate(self._index["view"]).astype(np.int64),
            part=number.astype(np.uint32),
        )
        meta = {
            "format": FORMAT,
            "fingerprint": self.target.name,
            "dtype": str(self.dtype),
            "description": self.description,
            "parts": np.bincount(number).tolist(),
            "scattered": self._n_parts is not None,
            "widths": self.widths,
            "skipped": skipped or {},
        }
        (self.folder / "meta.json").write_text(json.dumps(meta, sort_keys=True))
        replace_atomically(self.folder, self.target)
        return TokenSet(self.target)

    def _rename(self, used: np.ndarray) -> None:
        """Number the files of the parts that have rows from 0: of very few rows, a part may have none."""
        for number, before in enumerate(used.tolist()):
            if number != before:
                for field in self.widths:
                    (self.folder / f"{field}-{before:05d}.npy").rename(self.folder / f"{field}-{number:05d}.npy")

    def discard(self) -> None:
        """Remove the files written so far."""
        shutil.rmtree(self.folder, ignore_errors=True)
