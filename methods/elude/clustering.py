"""HDBSCAN of contribution vectors: the public function, its checks, and the choice of a backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from methods.elude.forest import SpanningTree
from methods.elude.hierarchy import Selection, condense, linkage, renumber
from methods.elude.kept import KeptClustering
from methods.elude.products import AUTO, precision_on, require_precision
from methods.elude.selection import select
from methods.elude.spanning_tree import spanning_tree
from methods.elude.tiled import tiled_spanning_tree
from methods.errors import ArgumentError, first_line

SELECTIONS = ("leaf", "eom")
# Size of a distance matrix of 11 500 points.
DEFAULT_MEMORY = 1 << 29


@dataclass(frozen=True, eq=False)
class Clustering:
    """Flat clusters of n points.

    labels          (n,) int64, on the device of the input: 0 is the largest cluster, equal sizes by smallest member;
                    -1 is noise
    probabilities   (n,) float32 in [0, 1]: hdbscan's membership strength of each point, 0 for noise
    persistence     (n_clusters,) float64 in [0, 1]: hdbscan's persistence score of each cluster
    min_samples     number of other points within a core distance, after clipping to the number of points
    backend         "exact", "hdbscan" or "cuml"
    """

    labels: torch.Tensor
    probabilities: torch.Tensor
    persistence: torch.Tensor
    min_samples: int
    backend: str

    @property
    def n_clusters(self) -> int:
        return len(self.persistence)

    @property
    def n_noise(self) -> int:
        return int((self.labels < 0).sum())


class ClusteringOptions(NamedTuple):
    """Checked options of a backend: min_samples is already clipped to the number of points that take part."""

    min_samples: int
    min_cluster_size: int
    selection: str
    epsilon: float
    memory_bytes: int
    portable_ties: bool
    products: str
    kept: KeptClustering | None


def unit_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of x (n, d) divided by their Euclidean length, and the mask (n,) bool of the zero rows.

    Zero rows stay zero. A row is first divided by its largest entry, so that the squares of tiny or huge entries
    neither underflow nor overflow.
    """
    largest = x.abs().amax(1, keepdim=True) if x.shape[1] else x.new_zeros(len(x), 1)
    scaled = x / torch.where(largest > 0, largest, torch.ones_like(largest))
    return torch.nn.functional.normalize(scaled, dim=1), largest[:, 0] == 0


def cluster(
    x: torch.Tensor | np.ndarray,
    *,
    min_cluster_size: int,
    min_samples: int | None = None,
    selection: str = "leaf",
    backend: str = "exact",
    device: torch.device | str | None = None,
    memory_bytes: int = DEFAULT_MEMORY,
    cluster_selection_epsilon: float = 0.0,
    zero_is_noise: bool = True,
    portable_ties: bool = False,
    products: str = AUTO,
    kept: KeptClustering | None = None,
) -> Clustering:
    """Cluster the rows of x, unchanged, by HDBSCAN (Campello et al., PAKDD 2013) with the Euclidean metric.

    x                          (n, d) real and finite, taken as float32; normalise it first with `unit_rows` if only
                               directions matter
    min_cluster_size           at least 2; a split with fewer points on one side drops them from the cluster instead
    min_samples                number of *other* points within a core distance, the point itself not counted, as hdbscan
                               0.8.44 does on every path; None means min_cluster_size; clipped to n - 1, and at least 1
    selection                  "leaf" or "eom"; leaf gives no cluster or at least two, never one
    backend                    "exact" (this package), "hdbscan" (the library), "cuml" (RAPIDS, an NVIDIA GPU)
    device                     device of "exact", by default that of x
    memory_bytes               memory that "exact" may allocate for distances; larger matrices are computed in tiles
    cluster_selection_epsilon  clusters born below this distance are merged upwards, as in hdbscan
    zero_is_noise              rows of x that are all zero have no direction: they are labelled noise and take no part.
                               Pass False if the origin is an ordinary point
    portable_ties              merges at exactly equal distance are ordered as hdbscan orders them on this machine; True
                               orders them the same on every machine, and then some points on the border between two
                               clusters differ from hdbscan's ("exact" only)

    products                   precision of the products that distances come from: "float32", "tf32", "tf32x3" or
                               "bf16x3"; "auto": TF32 on a GPU that has it, else float32. Distances whose error could
                               change the result are computed again, so the result is the same (docs/clustering.md)
    kept                       what an earlier call with the same x has left to this one, and this one leaves to the
                               next, which may have another min_cluster_size and min_samples ("exact" only)

    The result is a function of x and the options: the same bits on every run on the same machine. Raises ArgumentError
    for options or data outside the above, ImportError if a backend's package is missing.
    """
    points, largest = as_points(x)
    require_precision(products)
    for name, value, valid, allowed in (
        ("min_cluster_size", min_cluster_size, _is_count(min_cluster_size, 2), "an integer of at least 2"),
        ("min_samples", min_samples, min_samples is None or _is_count(min_samples, 1), "None or a positive integer"),
        ("selection", selection, selection in SELECTIONS, f"one of {', '.join(map(repr, SELECTIONS))}"),
        ("memory_bytes", memory_bytes, memory_bytes >= 1, "positive"),
        ("cluster_selection_epsilon", cluster_selection_epsilon, cluster_selection_epsilon >= 0, "at least 0"),
        ("backend", backend, backend in BACKENDS, f"one of {', '.join(map(repr, BACKENDS))}"),
    ):
        if not valid:
            raise ArgumentError(f"{name} is {value!r}; it must be {allowed}.")
    home = points.device
    points = points.to(device if device is not None else home)
    epsilon = float(cluster_selection_epsilon)
    if largest > 0 and not 2.0**-20 <= largest <= 2.0**20:
        # Squares of float32 overflow soon after; a power of two scales them back without rounding.
        scale = 2.0 ** math.floor(math.log2(largest))
        points, epsilon = points / scale, epsilon / scale
    alive = ~zero_rows(points) if zero_is_noise else torch.ones(len(points), dtype=torch.bool, device=points.device)
    participants = (points if bool(alive.all()) else points[alive]).contiguous()
    k = max(1, min(len(participants) - 1, min_cluster_size if min_samples is None else min_samples))
    labels = torch.full((len(points),), -1, dtype=torch.int64)
    probabilities = torch.zeros(len(points), dtype=torch.float32)
    persistence = np.zeros(0)
    if len(participants) >= min_cluster_size:
        options = ClusteringOptions(
            k, min_cluster_size, selection, epsilon, memory_bytes, portable_ties, products, kept
        )
        chosen = renumber(BACKENDS[backend](participants, options))
        host_alive = alive.cpu()
        labels[host_alive] = torch.from_numpy(chosen.labels)
        probabilities[host_alive] = torch.from_numpy(chosen.probabilities.astype(np.float32))
        persistence = chosen.persistence
    return Clustering(labels.to(home), probabilities.to(home), torch.from_numpy(persistence), k, backend)


def zero_rows(points: torch.Tensor) -> torch.Tensor:
    """Return the mask (n,) bool of the rows of points (n, d) whose entries are all zero."""
    zero: torch.Tensor = torch.linalg.vector_norm(points, dim=1) == 0
    # The length of a row of tiny entries underflows to zero, so the entries of these few rows are checked one by one.
    suspects = zero.nonzero()[:, 0]
    zero[suspects] = (points[suspects] == 0).all(1)
    return zero


def as_points(x: torch.Tensor | np.ndarray) -> tuple[torch.Tensor, float]:
    """Return x as a float32 tensor (n, d) without gradient, and its largest magnitude.

    Raises:
        ArgumentError: if x is no matrix of finite real numbers.
    """
    try:
        points = torch.as_tensor(x).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"x is no matrix of numbers ({first_line(error)}); give a tensor or array (n, d)."
        ) from error
    if points.ndim != 2 or points.shape[1] == 0:
        raise ArgumentError(f"x has shape {tuple(points.shape)}; it must be (n, d) with d at least 1.")
    if points.is_complex() or points.dtype == torch.bool:
        raise ArgumentError(f"x has dtype {points.dtype}; it must be real numbers.")
    points = points.to(torch.float32)
    if len(points) == 0:
        return points, 0.0
    low, high = torch.stack(torch.aminmax(points)).tolist()
    largest = max(-low, high)
    if not math.isfinite(largest):
        bad = int((~torch.isfinite(points)).any(1).nonzero()[0])
        raise ArgumentError(f"Row {bad} of x is not finite in float32; remove or rescale it.")
    return points, largest


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int | np.integer) and bool(value >= least)


def _exact(points: torch.Tensor, options: ClusteringOptions) -> Selection:
    kept = options.kept
    hierarchy = None if kept is None else kept.hierarchy(options.min_samples)
    if hierarchy is None:
        hierarchy = linkage(_tree(points, options), portable_ties=options.portable_ties)
        if kept is not None:
            kept.keep_hierarchy(options.min_samples, hierarchy)
    condensed = condense(hierarchy, options.min_cluster_size)
    return select(condensed, len(points), options.selection, options.epsilon)


def _tree(points: torch.Tensor, options: ClusteringOptions) -> SpanningTree:
    fits = points.device.type == "cpu" and 4 * len(points) ** 2 <= options.memory_bytes
    if fits and precision_on(points.device, options.products) == "float32":
        return spanning_tree(points, options.min_samples, options.kept)
    return tiled_spanning_tree(points, options.min_samples, options.memory_bytes, options.products)


def _as_hdbscan(options: ClusteringOptions) -> dict[str, Any]:
    """Return the arguments that hdbscan and cuML have in common."""
    return {
        "min_cluster_size": int(options.min_cluster_size),
        "min_samples": int(options.min_samples),
        "cluster_selection_method": options.selection,
        "cluster_selection_epsilon": options.epsilon,
    }


def _hdbscan(points: torch.Tensor, options: ClusteringOptions) -> Selection:
    try:
        from hdbscan import HDBSCAN
    except ImportError as error:
        raise ImportError(
            "backend 'hdbscan' needs the hdbscan package, which this project depends on: reinstall it."
        ) from error
    # By default the kd-tree paths may approximate the tree in few dimensions.
    model = HDBSCAN(**_as_hdbscan(options), approx_min_span_tree=False).fit(points.cpu().numpy().astype(np.float64))
    return Selection(model.labels_, model.probabilities_, model.cluster_persistence_)


def _cuml(points: torch.Tensor, options: ClusteringOptions) -> Selection:
    try:
        import cupy
        from cuml.cluster.hdbscan import HDBSCAN
    except ImportError as error:
        raise ImportError(
            "backend 'cuml' needs RAPIDS cuML and an NVIDIA GPU: install the extra 'cuml', or use backend='exact'."
        ) from error
    device = points.device if points.device.type == "cuda" else torch.device("cuda")
    # cuML and CuPy compute on the thread's current device, which is the first GPU in a new thread, wherever the points
    # are: all lanes would share it.
    with torch.cuda.device(device):
        model = HDBSCAN(**_as_hdbscan(options), output_type="numpy").fit(cupy.from_dlpack(points.to(device)))
        return Selection(np.asarray(model.labels_), np.asarray(model.probabilities_), model.cluster_persistence_)


Backend = Callable[[torch.Tensor, ClusteringOptions], Selection]
BACKENDS: dict[str, Backend] = {"exact": _exact, "hdbscan": _hdbscan, "cuml": _cuml}
