"""One neuron's contribution vectors, gathered block by block, and the cluster statistics that splitting needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from methods.elude.clustering import unit_rows, zero_rows
from methods.elude.inputs import Inputs
from methods.elude.kernels import Array
from methods.elude.spanning_tree import RowThreads, slices
from methods.tracing import DEVICE, traced

# Bytes of one block in float32: the memory used beside the directions while they are gathered.
PIECE = 1 << 27

# Keeps eq. 2 defined for a representative that cancels to zero; far below any relevant norm.
EPSILON = 1e-12


class Contributions(NamedTuple):
    """Contribution vectors ``c = W_u * q`` as directions and lengths: ``c = lengths * directions``."""

    directions: Tensor
    """(n, d_in) float32, unit vectors, or the contributions as they are; zero if the contribution is zero"""
    lengths: Tensor
    """(n,) float32, at least 0; of contributions as they are 1, or 0 if the contribution is zero"""


class Summary(NamedTuple):
    """Statistics of a neuron's contributions that splitting needs: two vectors per cluster."""

    representatives: Tensor
    """(K, d_in) float64 unit vectors: the normalised probability-weighted mean of each cluster's directions (eq. 2)"""
    means: Tensor
    """(K, d_in) float64: mean raw contribution of each cluster's members"""


@traced("gathering of inputs")
def gather(
    inputs: Inputs, rows: np.ndarray, weight: Tensor, device: torch.device, *, unit_length: bool = True
) -> Contributions:
    """Return the contributions of the given tokens to a neuron with weights (d_in,), on ``device``.

    Only the directions are held in full (4 n d_in bytes). Inputs are read and normalised in blocks of 128 MiB, in the
    order of ``rows``, which is the order on disk if they ascend.
    """
    n, d_in = len(rows), len(weight)
    directions = torch.empty(n, d_in, dtype=torch.float32, device=device)
    lengths = torch.empty(n, dtype=torch.float32, device=device)
    weight = weight.to(device)
    for piece in pieces(n, d_in):
        contributions = inputs.gather(rows[piece], device) * weight
        directions[piece], lengths[piece] = (normalise if unit_length else as_they_are)(contributions)
    return Contributions(directions, lengths)


def pieces(n: int, d: int) -> Iterator[slice]:
    """Yield slices of n rows, each of at most PIECE bytes of float32."""
    return slices(n, max(1, PIECE // (4 * max(1, d))))


def normalise(contributions: Tensor) -> Contributions:
    """Return directions and lengths of raw contributions (n, d_in)."""
    if contributions.device.type != "cpu":
        directions, _ = unit_rows(contributions)
        return Contributions(directions.float(), torch.linalg.vecdot(directions, contributions, dim=1).float())
    rows = contributions.detach().float().contiguous()
    normalised = Contributions(torch.empty_like(rows), torch.empty(len(rows)))
    arrays = rows.numpy(), normalised.directions.numpy(), normalised.lengths.numpy()
    with RowThreads(*rows.shape) as threads:
        threads(lambda start, stop: unit_rows_into(*arrays, start, stop))
    return normalised


def as_they_are(contributions: Tensor) -> Contributions:
    """Return raw contributions (n, d_in) as the directions, with lengths that tell which of them are zero."""
    rows = contributions.detach().float()
    return Contributions(rows, (~zero_rows(rows)).float())


@traced("sums over clusters", DEVICE)
def summarise(contributions: Contributions, labels: Tensor, probabilities: Tensor, n_clusters: int) -> Summary:
    """Return representatives and means of the clusters, summed in float64 without a second copy of the contributions.

    On a CPU the sums are taken row by row in order, so that the result does not depend on threads or blocks. ``labels``
    (n,) are clusters 0 .. K-1, -1 for noise; ``probabilities`` (n,) are in [0, 1].
    """
    sum_up = _sums_by_row if contributions.directions.device.type == "cpu" else _sums_by_product
    weighted, total = sum_up(contributions, labels, probabilities, n_clusters).cpu()
    counts = torch.bincount(labels[labels >= 0].cpu(), minlength=n_clusters).clamp_min(1)
    return Summary(weighted / (weighted.norm(dim=1, keepdim=True) + EPSILON), total / counts[:, None])


def _sums_by_row(contributions: Contributions, labels: Tensor, probabilities: Tensor, n_clusters: int) -> Tensor:
    n, d_in = contributions.directions.shape
    sums = np.zeros((2, n_clusters, d_in))
    directions, lengths = contributions.directions.numpy(), contributions.lengths.numpy()
    arrays = directions, labels.numpy(), probabilities.float().numpy(), lengths
    with RowThreads(d_in, n) as threads:
        threads(lambda start, stop: add_rows(*arrays, start, stop, sums))
    return torch.from_numpy(sums)


def _sums_by_product(contributions: Contributions, labels: Tensor, probabilities: Tensor, n_clusters: int) -> Tensor:
    n, d_in = contributions.directions.shape
    sums = torch.zeros(2 * n_clusters, d_in, dtype=torch.float64, device=contributions.directions.device)
    for piece in pieces(n, 4 * d_in):
        member = torch.nn.functional.one_hot(labels[piece] + 1, n_clusters + 1)[:, 1:].T.double()
        weights = torch.cat([member * probabilities[piece].double(), member * contributions.lengths[piece].double()])
        sums += weights @ contributions.directions[piece].double()
    return sums.view(2, n_clusters, d_in)


@njit(cache=True, nogil=True)
def add_rows(
    directions: Array, labels: Array, probabilities: Array, lengths: Array, start: int, stop: int, sums: Array
) -> None:
    """Add columns start to stop of directions (n, d), times probability and times length, to sums (2, K, d)."""
    for i in range(directions.shape[0]):
        cluster = labels[i]
        if cluster < 0:
            continue
        weight, length = np.float64(probabilities[i]), np.float64(lengths[i])
        for j in range(start, stop):
            value = np.float64(directions[i, j])
            sums[0, cluster, j] += weight * value
            sums[1, cluster, j] += length * value


@njit(cache=True, nogil=True)
def unit_rows_into(rows: Array, directions: Array, lengths: Array, start: int, stop: int) -> None:
    """Write rows start to stop of rows (n, d), divided by their length, and the lengths (n,); zero rows stay zero.

    Squares of float32 neither underflow nor overflow in float64. Eight running sums are added in a fixed order: this is
    fast because it vectorises, and reproducible because no reassociation is allowed.
    """
    d = rows.shape[1]
    whole = d - d % 8
    sums = np.empty(8, np.float64)
    for i in range(start, stop):
        sums[:] = 0.0
        for j in range(0, whole, 8):
            for k in range(8):
                sums[k] += np.float64(rows[i, j + k]) * np.float64(rows[i, j + k])
        for j in range(whole, d):
            sums[0] += np.float64(rows[i, j]) * np.float64(rows[i, j])
        length = np.sqrt(((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7])))
        lengths[i] = length
        scale = 1.0 / length if length > 0.0 else 0.0
        for j in range(d):
            directions[i, j] = np.float64(rows[i, j]) * scale
