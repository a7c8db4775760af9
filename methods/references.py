"""Reference samples: the images that characterise a neuron, the token of the maximum in each, and their clusters."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from methods.base import Tokens
from methods.numerics import sklearn_threads


class TokensByImage:
    """Tokens of a probing set grouped by image, for any order on disk."""

    def __init__(self, tokens: Tokens) -> None:
        image = np.asarray(tokens.image)
        self.order: np.ndarray = np.argsort(image, kind="stable")
        """(n,) token rows, image after image"""
        ordered = image[self.order]
        self.start: np.ndarray = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else image[:0]
        """(n_images,) position in :attr:`order` at which each image begins"""
        self.size: np.ndarray = np.diff(np.r_[self.start, len(ordered)])
        """(n_images,) tokens of each image"""
        self._tokens = tokens

    @cached_property
    def label(self) -> np.ndarray:
        """(n_images,) class of each image, -1 if it has none; read lazily, since reading counts as using labels."""
        return np.asarray(np.asarray(self._tokens.label)[self.order][self.start])

    def __len__(self) -> int:
        return len(self.start)

    def ordinal(self) -> np.ndarray:
        """Return the (n,) image number (index in the arrays above) of every token row."""
        numbers = np.empty(len(self.order), dtype=np.int64)
        numbers[self.order] = np.repeat(np.arange(len(self)), self.size)
        return numbers


def output_sums(tokens: Tokens, group: np.ndarray, n_groups: int, *, rectified: bool = False) -> Tensor:
    """Return (n_groups, d_out) float64 sums of the layer's output over the tokens of each group, in one pass.

    ``group`` (n,) is the group of each token row, -1 for none. With ``rectified`` negative outputs count as 0.
    """
    sums = torch.zeros(n_groups, tokens.width("output"), dtype=torch.float64)
    done = 0
    for batch in tokens.batches("output", 65536):
        target = torch.from_numpy(group[done : done + len(batch)])
        values = batch.cpu().double()[target >= 0]
        sums.index_add_(0, target[target >= 0], values.clamp_min(0) if rectified else values)
        done += len(batch)
    return sums


#: An image's activation of a neuron, by which its images are ranked: the mean over its tokens, or their maximum.
Ranking = Literal["mean", "maximum"]


def counted_tokens(tokens: Tokens, images: TokensByImage) -> np.ndarray:
    """Return the (n,) bool mask of the token rows that enter an image's mean.

    Prefix tokens (CLS, registers) have no position in the image: they count only if an image has no others.
    """
    grid = np.asarray(tokens.position) >= 0
    ordinal = images.ordinal()
    has_grid = np.bincount(ordinal[grid], minlength=len(images)) > 0
    return np.asarray(grid | ~has_grid[ordinal])


class References(NamedTuple):
    """One neuron's strongest images, strongest first; only images on which it is positive somewhere."""

    unit: int
    image: np.ndarray
    """(m,) image numbers, as in :class:`TokensByImage`"""
    row: np.ndarray
    """(m,) token row of the neuron's maximum in each"""


def reference_images(
    tokens: Tokens,
    images: TokensByImage,
    count: int,
    *,
    ranking: Ranking = "maximum",
    memory_bytes: int = 1 << 28,
) -> Iterator[References]:
    """Yield each neuron's ``count`` images of largest activation, in neuron order.

    The activation of an image is its maximum over tokens, or its mean over the tokens of :func:`counted_tokens`. Images
    without a positive token are left out: a neuron that is positive on fewer images has fewer, and one that never fires
    has none. Ties go to the lower image and the lower token. Neurons are taken in blocks of columns that fit in
    ``memory_bytes``.
    """
    width = tokens.width("output")
    block = max(1, min(width, memory_bytes // (16 * max(1, tokens.n))))
    counted = counted_tokens(tokens, images)[images.order] if ranking == "mean" else None
    for start in range(0, width, block):
        stop = min(start + block, width)
        values = tokens.columns("output", start, stop).numpy()[images.order]
        peak = np.maximum.reduceat(values, images.start, axis=0) if len(images) else values[:0]
        strength = peak if counted is None else means_of_images(values, counted, images)
        for column in range(stop - start):
            ranked = np.argsort(-strength[:, column], kind="stable")
            chosen = ranked[peak[ranked, column] > 0][:count]
            first = images.start[chosen]
            positions = [
                begin + int(np.argmax(values[begin : begin + size, column]))
                for begin, size in zip(first.tolist(), images.size[chosen].tolist(), strict=True)
            ]
            yield References(start + column, chosen, images.order[np.asarray(positions, dtype=np.int64)])


def means_of_images(values: np.ndarray, counted: np.ndarray, images: TokensByImage) -> np.ndarray:
    """Return (n_images, m) float64 means over the counted (n,) rows of each image; values (n, m) are in its order."""
    if not len(images):
        return np.zeros((0, values.shape[1]))
    sums = np.add.reduceat(np.where(counted[:, None], values, 0).astype(np.float64), images.start, axis=0)
    return np.asarray(sums / np.add.reduceat(counted.astype(np.int64), images.start)[:, None])


def by_size(labels: np.ndarray) -> list[np.ndarray]:
    """Return members of each cluster of labels (n,), -1 being no cluster: largest first, then by the first member."""
    members = [np.flatnonzero(labels == label) for label in np.unique(labels[labels >= 0])]
    return sorted(members, key=lambda rows: (-len(rows), int(rows[0])))


def kmeans_labels(points: np.ndarray, clusters: int, n_init: int, seed: int) -> np.ndarray:
    """Return (n,) int cluster of each of points (n, d) by k-means (Lloyd, k-means++); fewer if points coincide."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if min(clusters, len(points)) < 2:
        return np.zeros(len(points), dtype=np.int64)
    centred = points - points.mean(0)
    if len(points) < points.shape[1]:
        # n points span at most n dimensions, so distances do not change in the coordinates of the Gram matrix.
        values, vectors = np.linalg.eigh(centred @ centred.T)
        centred = vectors * np.sqrt(np.clip(values, 0, None))
    with warnings.catch_warnings():
        # Its warning, fewer distinct points than clusters, is handled by the caller's count of labels.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(min(clusters, len(points)), n_init=n_init, random_state=seed)
        with sklearn_threads():
            return np.asarray(model.fit_predict(centred), dtype=np.int64)
