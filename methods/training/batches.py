"""Seeded batches of normalised probing tokens, from the memory of the device or read ahead of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from methods.base import Device, Reads, Tokens
from methods.errors import first_line
from methods.memory import free_memory, is_out_of_memory
from methods.stored_rows import COPIED_ENTRIES, stored_rows, stored_rows_at
from methods.tracing import traced
from methods.training.normaliser import Normaliser
from methods.training.read_ahead import ahead

#: Size in float32 of the blocks within which the tokens are shuffled. The order of all batches depends on it.
BLOCK_BYTES = 4 << 30

#: Share of the memory left by the training that tokens may take.
TOKEN_SHARE = 0.8

#: Batches that are prepared in advance if the tokens are not on the device.
AHEAD = 2


def generator_of(*parts: object) -> torch.Generator:
    """Return a generator whose stream depends only on ``parts``."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def blocks_of(tokens: Tokens, block_rows: int) -> list[np.ndarray]:
    """Return the rows of each block, ascending: all rows if there are at most ``block_rows``, else random subsets.

    Tokens lie in the order of their images, and images often in the order of their classes, so a block of consecutive
    rows would be a biased sample. Blocks are made of the tokens' ``random_parts`` if they have any that are not larger
    than a block, since these are read fastest.
    """
    if tokens.n <= block_rows:
        return [np.arange(tokens.n)]
    parts: Sequence[np.ndarray] | None = getattr(tokens, "random_parts", None)
    if parts is None or max(map(len, parts)) > block_rows:
        order = torch.randperm(tokens.n, generator=generator_of("blocks")).numpy()
        return [np.sort(order[start : start + block_rows]) for start in range(0, tokens.n, block_rows)]
    blocks: list[list[np.ndarray]] = []
    for part in parts:
        if not blocks or sum(map(len, blocks[-1])) + len(part) > block_rows:
            blocks.append([])
        blocks[-1].append(part)
    return [np.sort(np.concatenate(block)) for block in blocks]


class _Block(NamedTuple):
    """Rows in the order in which they are used."""

    rows: Tensor
    """(m,) int64, ascending"""
    order: Tensor
    """positions in ``rows`` of those that are used: a permutation, or its end"""


class _Piece(NamedTuple):
    """Part of a batch."""

    fields: list[Tensor]
    """(m, width) rows of a block per field, in the type in which they are stored"""
    chosen: Tensor
    """indices into them"""

    def alone(self) -> _Piece:
        """Return the piece with its rows alone, so that those of the block can be freed."""
        every = torch.arange(len(self.chosen), device=self.chosen.device)
        return _Piece([rows.index_select(0, self.chosen) for rows in self.fields], every)


class Batches:
    """Batches of one or two fields ("input", "output"), normalised, in an order determined by seed and epoch.

    Rows are shuffled within blocks, random subsets of the rows (:func:`blocks_of`) that are taken in random order; a
    token set of at most ``block_bytes`` in float32 is one block. Where the tokens are stored meanwhile does not change
    a bit of a batch:

    - on the device, in the type in which they are stored (:meth:`methods.base.Tokens.stored`), if they fit into the
      memory that is free when the first batch is needed, less ``reserve``;
    - otherwise a thread reads the next block, and another one gathers the next batches and copies them to the device.

    Args:
        block_bytes: size of a block in float32.
        reserve: bytes of the device's memory that the training needs.
        resident: True to load the tokens to the device, False to read them ahead; None: decided by the memory.
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
        block_bytes: int = BLOCK_BYTES,
        reserve: int = 0,
        resident: bool | None = None,
    ) -> None:
        self.tokens, self.n = tokens, tokens.n
        self.fields = tuple(fields)
        self.normalisers = tuple(normalisers)
        self.batch_size = batch_size
        self.seed = seed
        self.device = _with_index(torch.device(device))
        self.reserve = reserve
        self.notes: list[str] = []
        """Sentences about memory that ran out."""
        row_bytes = 4 * sum(tokens.width(field) for field in self.fields)
        self.block_rows = max(batch_size, block_bytes // row_bytes)
        self._resident = resident
        self._on_device: list[Tensor] | None = None
        self._on_host: list[Tensor] | None = None

    @property
    def per_epoch(self) -> int:
        """Number of batches per epoch."""
        return math.ceil(self.n / self.batch_size)

    @property
    def are_resident(self) -> bool:
        """True if the tokens are kept on the device; decided when it is first asked or the first batch is needed."""
        if self._resident is None:
            self._resident = self._fit()
        return self._resident

    @property
    def are_on_device(self) -> bool:
        """True if the tokens are on the device now, so that :meth:`give_way` can free memory."""
        return self._on_device is not None

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield the batches of one epoch, (m, width) per field with m = ``batch_size`` except for the last one.

        ``skip`` leaves out the first batches, for a run that is resumed.
        """
        if self.are_resident and self._loaded():
            return self._from_device(number, skip)
        return self._from_host(number, skip)

    def give_way(self, error: BaseException) -> bool:
        """Free the tokens on the device after an error of a training; return True if it may succeed without them.

        That is: if the error says that memory ran out, and the tokens took some of it.
        """
        if not self.are_on_device or not is_out_of_memory(error):
            return False
        self._read_ahead_because(error)
        return True

    # ---- the order

    @cached_property
    def _rows(self) -> list[Tensor]:
        """Rows of each block."""
        return [torch.from_numpy(rows) for rows in blocks_of(self.tokens, self.block_rows)]

    def _blocks(self, number: int, skip: int) -> Generator[_Block, None, None]:
        """Yield the blocks of an epoch in their order, without those of which no batch is used."""
        generator = generator_of("batches", self.seed, number)
        unused = skip * self.batch_size
        for index in torch.randperm(len(self._rows), generator=generator).tolist():
            rows = self._rows[index]
            order = torch.randperm(len(rows), generator=generator)
            if unused < len(rows):
                yield _Block(rows, order[unused:])
            unused = max(0, unused - len(rows))

    def _split(self, blocks: Iterator[tuple[list[Tensor], Tensor]]) -> Iterator[list[_Piece]]:
        """Yield the pieces of each batch, of the fields of blocks and the order of their rows.

        A batch that a block does not fill takes its other rows from the next block, so that there are as many batches,
        of the same size, as with one block.
        """
        pieces: list[_Piece] = []
        missing = self.batch_size
        for fields, order in blocks:
            start = 0
            while start < len(order):
                chosen = order[start : start + missing]
                pieces.append(_Piece(fields, chosen))
                start, missing = start + len(chosen), missing - len(chosen)
                if not missing:
                    yield pieces
                    pieces, missing = [], self.batch_size
            pieces = [piece.alone() for piece in pieces]
        if pieces:
            yield pieces

    # ---- on the device

    def _fit(self) -> bool:
        """Return True if the tokens fit into the device's memory beside the training."""
        # One block is held in the host's memory in any case.
        if self.device.type != "cuda" and self.n <= self.block_rows:
            return True
        row_bytes = sum(self.tokens.width(field) * dtype.itemsize for field, dtype in self._dtypes.items())
        free = free_memory(self.device)
        return free is not None and self.n * row_bytes <= TOKEN_SHARE * (free - self.reserve)

    def _loaded(self) -> bool:
        """Load the tokens to the device, if they are not there; return False if the memory is not enough."""
        if self._on_device is not None:
            return True
        loaded: list[Tensor] = []
        try:
            for field in self.fields:
                loaded.append(self._load(field))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            loaded.clear()
            self._read_ahead_because(error)
            return False
        self._on_device = loaded
        return True

    @traced("reading of tokens for training")
    def _load(self, field: Reads) -> Tensor:
        """Return a field of all tokens on the device: normalised if it is float32, otherwise as stored."""
        width, dtype = self.tokens.width(field), self._dtypes[field]
        whole = torch.empty(self.n, width, dtype=dtype, device=self.device)
        at_once = max(1, COPIED_ENTRIES // width)
        for start in range(0, self.n, at_once):
            part = whole[start : start + at_once]
            part.copy_(self._stored(field, start, start + len(part)))
            if dtype == torch.float32:
                part.copy_(self._normalise[field](part))
        return whole

    def _read_ahead_because(self, error: BaseException) -> None:
        self._resident, self._on_device = False, None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.notes.append(
            f"The memory of {self.device} ran out with the training tokens in it ({first_line(error)}), so they were "
            "read batch by batch."
        )

    def _from_device(self, number: int, skip: int) -> Iterator[tuple[Tensor, ...]]:
        assert self._on_device is not None
        parts = self._on_device
        orders = (block.rows[block.order].to(self.device) for block in ahead(self._blocks(number, skip), 1))
        for pieces in self._split((parts, order) for order in orders):
            rows = (joined_rows(pieces, index) for index in range(len(self.fields)))
            yield tuple(
                part if part.dtype == torch.float32 else self._normalise[field](part)
                for field, part in zip(self.fields, rows, strict=True)
            )

    # ---- read ahead

    def _from_host(self, number: int, skip: int) -> Iterator[tuple[Tensor, ...]]:
        blocks = ahead(self._blocks(number, skip), 1)
        read = self._read(blocks)
        # Reading needs the memory of a second block.
        several = self.n > self.block_rows
        for parts, copied in ahead(self._gathered(ahead(read, 1) if several else read), AHEAD):
            if copied is not None:
                stream = torch.cuda.current_stream(self.device)
                stream.wait_event(copied)
                for part in parts:
                    part.record_stream(stream)
            yield tuple(self._normalise[field](part) for field, part in zip(self.fields, parts, strict=True))

    def _read(self, blocks: Generator[_Block, None, None]) -> Generator[tuple[_Block, list[Tensor]], None, None]:
        """Yield each block with its rows, in the type in which they are stored."""
        for block in blocks:
            if self._on_host is not None:
                yield block, self._on_host
                continue
            rows = [stored_rows_at(self.tokens, field, block.rows.numpy()) for field in self.fields]
            if len(block.order) == self.n:
                self._on_host = rows
            yield block, rows

    def _gathered(
        self, blocks: Generator[tuple[_Block, list[Tensor]], None, None]
    ) -> Generator[tuple[list[Tensor], torch.cuda.Event | None], None, None]:
        """Yield the rows of each batch on the device, with the event after which they are there (None: at once)."""
        stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        for pieces in self._split((parts, block.order) for block, parts in blocks):
            if stream is None:
                yield [joined_rows(pieces, index).to(self.device) for index in range(len(self.fields))], None
                continue
            # Pinned memory is reused only after the copies from it have ended: torch's allocator sees to that.
            pinned = [joined_rows(pieces, index, pin=True) for index in range(len(self.fields))]
            with torch.cuda.stream(stream):
                moved = [rows.to(self.device, non_blocking=True) for rows in pinned]
            yield moved, stream.record_event()

    # ---- rows as they are stored

    @cached_property
    def _normalise(self) -> dict[Reads, Normaliser]:
        """Normalisers whose mean is on the device already: copying it for each batch would wait for the device."""
        return {
            field: normaliser.to(self.device) for field, normaliser in zip(self.fields, self.normalisers, strict=True)
        }

    @cached_property
    def _dtypes(self) -> dict[Reads, torch.dtype]:
        return {field: self._stored(field, 0, min(1, self.n)).dtype for field in self.fields}

    def _stored(self, field: Reads, start: int, stop: int) -> Tensor:
        return stored_rows(self.tokens, field, start, stop)


def joined_rows(pieces: Sequence[_Piece], index: int, *, pin: bool = False) -> Tensor:
    """Return the rows of a batch (m, width) of one field, in new memory."""
    first = pieces[0].fields[index]
    if len(pieces) == 1 and not pin:
        return first.index_select(0, pieces[0].chosen)
    size = sum(len(piece.chosen) for piece in pieces)
    rows = torch.empty(size, first.shape[1], dtype=first.dtype, device=first.device, pin_memory=pin)
    start = 0
    for fields, chosen in pieces:
        torch.index_select(fields[index], 0, chosen, out=rows[start : start + len(chosen)])
        start += len(chosen)
    return rows


def _with_index(device: torch.device) -> torch.device:
    """Return a CUDA device with its number: another thread may have another current device."""
    if device.type == "cuda" and device.index is None and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return device
