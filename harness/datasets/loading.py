"""Loading of decoded batches in order, with a bounded number of images in memory and order-independent crop seeds."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from harness.datasets.base import BrokenImageError, ImageSet
from harness.devices import core_count
from methods.errors import UserError
from methods.memory import memory_of
from methods.tracing import section

Transform = Callable[[Image.Image, int], Tensor]


class ImageBatch(NamedTuple):
    """Batch of images: ``index`` (B,) int64, positions in the image set; ``images`` (B, 3, S, S) from the transform."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not used of a batch
    images: Tensor


class BrokenReport(dict[str, str]):
    """Report of the skipped images: name to reason, in the order of first occurrence."""

    def add(self, error: BrokenImageError) -> None:
        self.setdefault(error.name, error.reason)

    def of(self, images: ImageSet) -> dict[str, str]:
        """Return the part of the report on ``images``."""
        names = {record.name for record in images.records}
        return {name: reason for name, reason in self.items() if name in names}

    def summary(self) -> str:
        """Return a one-sentence summary; empty if nothing was skipped."""
        if not self:
            return ""
        name, reason = next(iter(self.items()))
        more = f" and {len(self) - 1} more" if len(self) > 1 else ""
        return f"{len(self)} image{'s' if len(self) > 1 else ''} skipped: {name} ({reason}){more}."


def batches(
    images: ImageSet, transform: Transform, *, batch_size: int, workers: int | None = None, report: BrokenReport
) -> Generator[ImageBatch, None, None]:
    """Read, transform and stack the images of a set in index order.

    ``workers`` threads decode (default: :func:`decoding_threads`); at most ``batch_size + 2 * workers`` images are
    decoded and not yet yielded, so memory does not grow with the set. An image that cannot be read is added to
    ``report`` and left out; a batch's ``index`` gives the images it holds. All batches but the last have ``batch_size``
    images, whether or not images are broken. The number of threads does not change the result.

    Args:
        transform: ``(image, its position in the set) -> (3, S, S)``. Its exceptions are not caught.
        report: filled while iterating.

    Raises:
        UserError: for sizes below 1, or if no image of a non-empty set can be read.
    """

    def prepare(index: int) -> Tensor:
        return transform(images.open(index), index)

    return prepared_batches(images, range(len(images)), prepare, batch_size=batch_size, workers=workers, report=report)


def prepared_batches(
    images: ImageSet,
    positions: Sequence[int],
    prepare: Callable[[int], Tensor],
    *,
    batch_size: int,
    workers: int | None = None,
    report: BrokenReport,
) -> Generator[ImageBatch, None, None]:
    """Stack what ``prepare`` returns for some positions of a set, in their order; see :func:`batches`.

    Args:
        positions: of the images in the set; the batches' ``index`` holds these.
        prepare: called in threads; an image whose call raises BrokenImageError is reported and left out.
    """
    workers = decoding_threads() if workers is None else workers
    if batch_size < 1 or workers < 1:
        raise UserError(f"batch_size and workers must be at least 1: they are {batch_size} and {workers}.")
    return _batches(images, positions, prepare, batch_size, workers, report)


#: Memory reserved per decoding thread, in bytes: the largest image that Pillow decodes takes 0.5 GiB as RGB, and its
#: conversion as much again.
DECODER_BYTES = 1 << 30


def decoding_threads() -> int:
    """Return the default number of decoding threads: one per core, limited by memory; Pillow decodes without the GIL.

    A process that was given fewer threads (``--threads``, ``OMP_NUM_THREADS``, a worker beside others) decodes with as
    many as torch uses there, and at least two. By default, torch uses one per physical core, which is half the number
    of cores if each counts twice.
    """
    threads, cores = torch.get_num_threads(), core_count()
    allowed = cores if 2 * threads >= cores else max(2, threads)
    memory = memory_of("cpu")
    return allowed if memory is None else max(1, min(allowed, memory // DECODER_BYTES))


def _batches(
    images: ImageSet,
    positions: Sequence[int],
    prepare: Callable[[int], Tensor],
    batch_size: int,
    workers: int,
    report: BrokenReport,
) -> Generator[ImageBatch, None, None]:
    def attempt(index: int) -> Tensor | BrokenImageError:
        try:
            return prepare(index)
        except BrokenImageError as error:
            return error

    upcoming = iter(positions)
    waiting: deque[tuple[int, Future[Tensor | BrokenImageError]]] = deque()
    ready: list[tuple[int, Tensor]] = []
    any_readable = False
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        while True:
            # Images that are ready count too, or memory would reach two batches.
            n_free = batch_size + 2 * workers - len(waiting) - len(ready)
            waiting.extend((index, pool.submit(attempt, index)) for index in itertools.islice(upcoming, n_free))
            if len(ready) == batch_size or (ready and not waiting):
                index = torch.tensor([index for index, _ in ready], dtype=torch.int64)
                yield ImageBatch(index, torch.stack([image for _, image in ready]))
                ready = []
                continue
            if not waiting:
                break
            position, future = waiting.popleft()
            with section("waiting for decoded images"):
                result = future.result()
            if isinstance(result, BrokenImageError):
                report.add(result)
            else:
                ready.append((position, result))
                any_readable = True
        if len(positions) and not any_readable:
            raise _nothing_readable(images, len(positions), report)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def require_readable(images: ImageSet) -> None:
    """Raise UserError unless at least one image of a set can be read. The search stops at the first that can."""
    report = BrokenReport()
    for index in range(len(images)):
        try:
            images.open(index)
        except BrokenImageError as error:
            report.add(error)
        else:
            return
    raise _nothing_readable(images, len(images), report)


def _nothing_readable(images: ImageSet, count: int, report: BrokenReport) -> UserError:
    return UserError(f"None of the {count} images of {images.name!r} can be read. {report.summary()}")


def crop_generator(seed: int, image_index: int, crop_index: int) -> torch.Generator:
    """Return a generator for one random crop.

    It is seeded by a hash of the three numbers, so the reading order does not matter.
    """
    digest = hashlib.blake2b(f"crop|{seed}|{image_index}|{crop_index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
