"""Seeded batches of normalised probing tokens."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from methods.base import Device, Reads, Tokens
from methods.training.normaliser import Normaliser

#: Token sets up to this size are held in memory, normalised; larger ones are read in blocks.
MEMORY_BYTES = 4 << 30


def generator_of(*parts: object) -> torch.Generator:
    """Return a generator whose stream depends only on ``parts``."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Batches:
    """Batches of one or two fields ("input", "output"), normalised, in an order determined by seed and epoch.

    A token set that fits in ``memory_bytes`` is held on the device and shuffled as a whole. A larger set is shuffled by
    blocks of consecutive rows, read in random order, which keeps reads sequential and memory below two blocks.
    """

    def __init__(
        self,
        tokens: Tokens,
        fields: Sequence[Reads],
        normalisers: Sequence[Normaliser],
        batch_size: int,
        *,
        seed: int,
        device: Device = "cpu",
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.tokens, self.n = tokens, tokens.n
        self.fields = tuple(fields)
        self.normalisers = tuple(normalisers)
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        row_bytes = 4 * sum(tokens.width(field) for field in self.fields)
        self.block_rows = max(batch_size, memory_bytes // row_bytes)
        self._in_memory: list[Tensor] | None = None

    @property
    def per_epoch(self) -> int:
        """Number of batches per epoch."""
        blocks = range(0, self.n, self.block_rows)
        return sum(math.ceil(min(self.block_rows, self.n - start) / self.batch_size) for start in blocks)

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield the batches of one epoch, (m, width) per field with m = ``batch_size`` except for the last of a block.

        ``skip`` leaves out the first batches, for a run that is resumed.
        """
        generator = generator_of("batches", self.seed, number)
        starts = list(range(0, self.n, self.block_rows))
        seen = 0
        for index in torch.randperm(len(starts), generator=generator).tolist():
            rows = min(self.block_rows, self.n - starts[index])
            order = torch.randperm(rows, generator=generator)
            batch_starts = range(0, rows, self.batch_size)
            if seen + len(batch_starts) <= skip:
                seen += len(batch_starts)
                continue
            block: list[Tensor] = []  # lets go of the one before, ahead of reading the next
            block = self._block(starts[index], rows)
            order = order.to(self.device)
            for start in batch_starts:
                seen += 1
                if seen > skip:
                    chosen = order[start : start + self.batch_size]
                    yield tuple(part.index_select(0, chosen) for part in block)

    def _block(self, start: int, rows: int) -> list[Tensor]:
        if self._in_memory is not None:
            return self._in_memory
        index = torch.arange(start, start + rows).numpy()
        block = [
            normalise(self.tokens.gather(field, index).to(self.device, torch.float32))
            for field, normalise in zip(self.fields, self.normalisers, strict=True)
        ]
        if rows == self.n:
            self._in_memory = block
        return block
