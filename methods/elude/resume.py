"""Finished neurons on disk, from which an interrupted fit resumes.

A folder of safetensors files, each with some neurons' sub-units and, in its header, the key of the build and a hash of
its tensors. A file whose key or hash does not match is not read; it is removed, since nothing can use it.

Two processes may compute the same fit at once, in one folder. Their parts are the same, so each may read or overwrite
the other's. The process that finishes first removes the folder, and the other continues without its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from methods.atomic import partial_file
from methods.base import LinearSite, Tokens

#: Raise it when the file format or the computation of a build changes.
FORMAT = 1

# At most this much work is lost; writing more often would cost as much as the work itself for a small layer.
FLUSH_SECONDS = 10.0


class Part(NamedTuple):
    """One neuron's result: its K sub-units."""

    weights: Tensor
    """(K, d_in)"""
    biases: Tensor
    """(K,)"""
    rho: float
    """NaN if the neuron was not split"""
    n_noise: int
    """Number of instances in no cluster."""


def build_key(tokens: Tokens, site: LinearSite, settings: dict[str, Any]) -> str:
    """Return a hash of everything that determines the result of a fit: settings (JSON-able), weights, bias, tokens.

    Token sets on disk are identified by their ``fingerprint``; others are read once.
    """
    sha = hashlib.sha256(json.dumps({"format": FORMAT, **settings}, sort_keys=True).encode())
    for tensor in (site.weight, site.bias):
        _update(sha, tensor)
    fingerprint = getattr(tokens, "fingerprint", None)
    if fingerprint is not None:
        sha.update(str(fingerprint).encode())
    else:
        for batch in (*tokens.batches("input", 8192), *tokens.batches("output", 8192)):
            _update(sha, batch)
    return sha.hexdigest()


class UnitFiles:
    """The neurons of one build that are finished, in a folder; ``key`` is :func:`build_key` of the build."""

    def __init__(self, folder: str | Path, key: str) -> None:
        self.folder = Path(folder)
        self.key = key
        self.folder.mkdir(parents=True, exist_ok=True)
        self._pending: dict[int, Part] = {}
        self._last = time.monotonic()

    def read(self) -> dict[int, Part]:
        """Return all finished neurons of this build; remove files of other builds and broken ones."""
        finished: dict[int, Part] = {}
        # Partial files of a killed process stay until the fit is finished: another process may be writing them now.
        for file in self._files("units-*.safetensors"):
            parts = self._read_file(file)
            if parts is None:
                file.unlink(missing_ok=True)
            else:
                finished.update(parts)
        return finished

    def add(self, unit: int, part: Part) -> None:
        """Keep one neuron; it is on disk after the next :meth:`flush`, which happens every FLUSH_SECONDS."""
        self._pending[unit] = part
        if time.monotonic() - self._last >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the pending neurons; they stay pending if another process removes the folder meanwhile."""
        if not self._pending:
            return
        # Raised if the folder is removed while it is being created (FileExistsError) or the file is being written.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            self._write()
            self._pending = {}
        self._last = time.monotonic()

    def _write(self) -> None:
        units = sorted(self._pending)
        parts = [self._pending[unit] for unit in units]
        tensors = {
            "unit": torch.tensor(units),
            "count": torch.tensor([len(part.weights) for part in parts]),
            "weights": torch.cat([part.weights for part in parts]).contiguous(),
            "biases": torch.cat([part.biases for part in parts]).contiguous(),
            "rho": torch.tensor([part.rho for part in parts], dtype=torch.float64),
            "n_noise": torch.tensor([part.n_noise for part in parts]),
        }
        header = {"elude": json.dumps({"key": self.key, "sha256": _digest(tensors)})}
        # Named by a unit that no other file holds, except for files of another process with the same fit.
        with partial_file(self.folder / f"units-{units[0]:06d}.safetensors") as partial:
            partial.write_bytes(save(tensors, metadata=header))

    def remove(self) -> None:
        """Delete the files, and the folder if nothing else is in it, when the build is finished."""
        for file in (*self._files("units-*.safetensors"), *self._files("*.tmp")):
            file.unlink(missing_ok=True)
        # It may be gone already if another process removed it first.
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _files(self, pattern: str) -> list[Path]:
        """Return the files of that name, sorted; none if another process has removed the folder."""
        try:
            return sorted(self.folder.glob(pattern))
        except FileNotFoundError:
            return []

    def _read_file(self, file: Path) -> dict[int, Part] | None:
        try:
            with safe_open(str(file), framework="pt") as opened:
                header = json.loads((opened.metadata() or {})["elude"])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        if header.get("key") != self.key or header.get("sha256") != _digest(tensors):
            return None
        counts = tensors["count"].tolist()
        rows = (tensors[name].split(counts) for name in ("weights", "biases"))
        scalars = (tensors[name].tolist() for name in ("unit", "rho", "n_noise"))
        return {
            unit: Part(weights.clone(), biases.clone(), rho, n_noise)
            for weights, biases, unit, rho, n_noise in zip(*rows, *scalars, strict=True)
        }


def _digest(tensors: dict[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode())
        _update(sha, tensors[name])
    return sha.hexdigest()


def _update(sha: hashlib._Hash, tensor: Tensor) -> None:
    """Add dtype, shape and bytes of a tensor to the hash."""
    plain = tensor.detach().cpu().contiguous()
    sha.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
    sha.update(np.ascontiguousarray(plain.reshape(-1).view(torch.uint8).numpy()).data)
