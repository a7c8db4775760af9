"""Cache of the network's state before the site, written in the first evaluation pass.

Every pass over the evaluation split changes the network at the site only, so all modules before it give the same result
each time. If the architecture has a single tensor that everything after it depends on (between two blocks of an
``nn.Sequential``), that tensor is kept on disk and later passes start from it. The cut is verified, not assumed: the
first batch is run from the kept state, with a blank image, and must give the same features to the bit.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from methods.tracing import traced
from methods.training.read_ahead import ahead

#: Size limit of a split's states, in bytes: 50,000 images of ViT-L/14 take 49 GiB. Larger ones, and those for which the
#: disk has no room, are not kept, and passes then run the whole network.
SIZE_LIMIT = 64 << 30
#: Batches of states, or of stored outputs, that are read before they are needed.
READ_AHEAD = 1
_size_limit: ContextVar[int | None] = ContextVar("state_size_limit", default=None)


def size_limit() -> int:
    """Return the size limit of a split's states: :data:`SIZE_LIMIT`, or that of :func:`limited`."""
    limit = _size_limit.get()
    return SIZE_LIMIT if limit is None else limit


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Set another size limit within the context, so that few images are treated as many are."""
    token = _size_limit.set(size)
    try:
        yield
    finally:
        _size_limit.reset(token)


@dataclass(frozen=True)
class Cut:
    """Cut of the network: the output of ``last`` is kept, and the modules of ``skipped`` need not run."""

    last: nn.Module
    skipped: tuple[nn.Module, ...]


def find_cut(model: nn.Module, path: str) -> Cut | None:
    """Return the last cut before the layer at ``path`` at which the network's state may be one tensor, or None.

    Candidates are the gap before a child of an ``nn.Sequential`` on the path to the layer (deepest first), and the end
    of the last ``nn.Sequential`` before it at the top level.
    """
    names = path.split(".")
    for depth in range(len(names) - 1, 0, -1):
        container = model.get_submodule(".".join(names[:depth]))
        if isinstance(container, nn.Sequential) and (before := _before(container, names[depth])):
            return Cut(before[-1], tuple(before[:-1]))
    stages = [child for child in _before(model, names[0]) if isinstance(child, nn.Sequential) and len(child)]
    return Cut(stages[-1], tuple(stages[:-1])) if stages else None


def _before(container: nn.Module, name: str) -> list[nn.Module]:
    """Return the children of ``container`` that were defined before the child ``name``."""
    return [child for _, child in itertools.takewhile(lambda item: item[0] != name, container.named_children())]


class StateWriter:
    """Writer of the states at the cut during a pass, to one file of raw float32 that grows batch by batch.

    Args:
        cut: where the states are taken.
        n_images: number of images of the split.
        file: file to write.
        spare: bytes of the disk that must stay free beside the complete file.
    """

    def __init__(self, cut: Cut, n_images: int, file: Path, spare: int = 0) -> None:
        self.cut = cut
        self.n_images = n_images
        self.file = file
        self.spare = spare
        self.shape: tuple[int, ...] | None = None
        self.written = 0
        self.usable = True

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the states of the images of one forward pass while the context is active."""
        calls = 0

        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal calls
            calls += 1
            self.usable = self.usable and calls == 1 and self._write(output)

        handle = self.cut.last.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    @traced("copies to the host and writing of states")
    def _write(self, state: Any) -> bool:
        """Append states to the file. Return False if the states of the split cannot be stored."""
        if not isinstance(state, Tensor) or state.dtype != torch.float32:
            return False
        if self.shape is None:
            self.shape = tuple(state.shape[1:])
            size = 4 * self.n_images * int(np.prod(self.shape))
            if size > size_limit() or size + self.spare > shutil.disk_usage(self.file.parent).free:
                return False
        try:
            # Plain writes: a full disk then raises OSError here, instead of a bus error on a page of a memory map.
            with open(self.file, "ab") as handle:
                handle.write(np.ascontiguousarray(state.cpu().numpy()).data)
        except OSError:
            return False
        self.written += len(state)
        return True

    def finish(self) -> tuple[int, ...] | None:
        """Return the shape (n_images, ...) of the states in the file, or None (and no file) if they are unusable."""
        if self.usable and self.shape is not None:
            return (self.written, *self.shape)
        self.file.unlink(missing_ok=True)
        return None


class States:
    """States of an evaluation split on disk, (n_images, ...) float32, from which passes can start.

    Raises:
        ValueError: if the size of the file does not match ``shape``.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], cut: Cut) -> None:
        if file.stat().st_size != 4 * int(np.prod(shape)):
            raise ValueError(f"{file.name} has the wrong size")
        self.file = file
        self.shape = shape
        self.cut = cut
        self._chosen: np.ndarray | None = None

    def of_rows(self, rows: np.ndarray) -> States:
        """Return the states of some rows (n,) of these, which are then numbered from 0."""
        part = States(self.file, self.shape, self.cut)
        part._chosen = rows if self._chosen is None else self._chosen[rows]
        return part

    def read(self, ranges: Iterable[range]) -> Generator[Tensor, None, None]:
        """Yield the states of ranges of images, on the CPU; a thread reads the next ones meanwhile."""
        return ahead((self._rows(images) for images in ranges), READ_AHEAD)

    def _rows(self, images: range) -> Tensor:
        row = int(np.prod(self.shape[1:]))
        if self._chosen is not None:
            states = np.memmap(self.file, np.float32, mode="r", shape=self.shape)
            return torch.from_numpy(states[self._chosen[images.start : images.stop]])
        rows = np.fromfile(self.file, np.float32, count=len(images) * row, offset=4 * images.start * row)
        return torch.from_numpy(rows.reshape(len(images), *self.shape[1:]))

    @contextmanager
    def resumed(self, state: Tensor) -> Iterator[None]:
        """Make forward passes continue from a state while the context is active.

        The images of such a pass are ignored; there must be as many as the state has.

        Args:
            state: states of some images, on the device of the network.
        """
        # An attribute of the instance shadows the class's forward; deleting it restores the module as it was.
        self.cut.last.forward = lambda *args, **kwargs: state
        for module in self.cut.skipped:
            module.forward = lambda x, *args, **kwargs: x
        try:
            yield
        finally:
            for module in (self.cut.last, *self.cut.skipped):
                del module.forward
