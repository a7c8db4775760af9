"""Loading of decoded batches in order, with a bounded number of images in memory and order-independent crop seeds."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from harness.datasets.base import BrokenImage, BrokenImageError, ImageSet
from methods.errors import UserError

Transform = Callable[[Image.Image, int], Tensor]


class ImageBatch(NamedTuple):
    """Batch of images: ``index`` (B,) int64, positions in the image set; ``images`` (B, 3, S, S) from the transform."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not used of a batch
    images: Tensor


class BrokenReport:
    """Report of the skipped images, each listed once, in the order of first occurrence."""

    def __init__(self) -> None:
        self._broken: dict[str, BrokenImage] = {}

    def add(self, broken: BrokenImage) -> None:
        self._broken.setdefault(broken.name, broken)

    def __len__(self) -> int:
        return len(self._broken)

    def __iter__(self) -> Iterator[BrokenImage]:
        return iter(self._broken.values())

    def reasons(self, images: ImageSet) -> dict[str, str]:
        """Return name and reason of the skipped images that belong to ``images``."""
        names = {record.name for record in images.records}
        return {broken.name: broken.reason for broken in self if broken.name in names}

    def summary(self) -> str:
        """Return a one-sentence summary; empty if nothing was skipped."""
        if not self._broken:
            return ""
        first = next(iter(self))
        more = f" and {len(self) - 1} more" if len(self) > 1 else ""
        return f"{len(self)} image{'s' if len(self) > 1 else ''} skipped: {first.name} ({first.reason}){more}."


def batches(
    images: ImageSet,
    transform: Transform,
    *,
    batch_size: int,
    workers: int = 2,
    report: BrokenReport,
) -> Iterator[ImageBatch]:
    """Read, transform and stack the images of a set in index order.

    ``workers`` threads decode; at most ``batch_size + 2 * workers`` images are decoded and not yet yielded, so memory
    does not grow with the set. An image that cannot be read is added to ``report`` and left out; a batch's ``index``
    gives the images it holds. All batches but the last have ``batch_size`` images, whether or not images are broken.

    Args:
        images: the set.
        transform: ``(image, its position in the set) -> (3, S, S)``. Its own exceptions are not caught.
        batch_size: images per batch.
        workers: number of decoding threads.
        report: filled while iterating.

    Raises:
        UserError: for sizes below 1, or if no image of a non-empty set can be read.
    """
    if batch_size < 1 or workers < 1:
        raise UserError(f"batch_size and workers must be at least 1: they are {batch_size} and {workers}.")
    return _batches(images, transform, batch_size, workers, report)


def _batches(
    images: ImageSet, transform: Transform, batch_size: int, workers: int, report: BrokenReport
) -> Iterator[ImageBatch]:
    def prepare(index: int) -> Tensor | BrokenImage:
        try:
            image = images.open(index)
        except BrokenImageError as error:
            return error.broken
        return transform(image, index)

    delivered = 0
    waiting: deque[tuple[int, Future[Tensor | BrokenImage]]] = deque()
    index: list[int] = []
    stack: list[Tensor] = []
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        upcoming = iter(range(len(images)))
        while True:
            # Images already stacked count too, or memory would reach two batches.
            while len(waiting) + len(stack) < batch_size + 2 * workers and (i := next(upcoming, None)) is not None:
                waiting.append((i, pool.submit(prepare, i)))
            if not waiting:
                break
            position, future = waiting.popleft()
            result = future.result()
            if isinstance(result, BrokenImage):
                report.add(result)
                continue
            index.append(position)
            stack.append(result)
            if len(stack) == batch_size:
                delivered += batch_size
                yield ImageBatch(torch.tensor(index, dtype=torch.int64), torch.stack(stack))
                index, stack = [], []
        if stack:
            delivered += len(stack)
            yield ImageBatch(torch.tensor(index, dtype=torch.int64), torch.stack(stack))
        if len(images) and not delivered:
            raise _nothing_readable(images, report)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def require_readable(images: ImageSet) -> None:
    """Raise UserError unless at least one image of a set can be read. The search stops at the first that can."""
    report = BrokenReport()
    for index in range(len(images)):
        try:
            images.open(index)
        except BrokenImageError as error:
            report.add(error.broken)
        else:
            return
    raise _nothing_readable(images, report)


def _nothing_readable(images: ImageSet, report: BrokenReport) -> UserError:
    return UserError(f"None of the {len(images)} images of {images.name!r} can be read. {report.summary()}")


def crop_generator(seed: int, image_index: int, crop_index: int) -> torch.Generator:
    """Return a generator for one random crop.

    It is seeded by a hash of the three numbers, so the reading order does not matter.
    """
    digest = hashlib.blake2b(f"crop|{seed}|{image_index}|{crop_index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
