"""The exact mutual-reachability spanning tree of points whose distance matrix fits in memory.

Boruvka's algorithm on squared distances. The matrix comes from half a matrix product in float32; wherever its rounding
leaves a decision open, the distance is computed again in float64, so the tree equals that of float64. Equal weights are
ordered by their lower end, then by their upper end, which makes the tree unique (docs/clustering.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from methods.elude import kernels
from methods.elude.forest import Forest, SpanningTree, shared_cores
from methods.elude.kept import KeptClustering
from methods.tracing import DEVICE, traced

# Rows of a panel of the half product: enough for the matrix product to run at full speed, few enough that the unused
# part above the diagonal stays a tenth of the work at n = 4000.
PANEL = 192
# A matrix this large or smaller is kept for the thread's next call: at n = 1500 the operating system takes half as long
# to hand out the pages of a fresh one as the product takes to fill it.
CACHED_BYTES = 64 << 20

_thread_cache = threading.local()

Rows = Callable[[int, int], object]


class RowThreads:
    """Threads that process ranges of rows, as many as torch uses; a context manager that ends them on exit."""

    def __init__(self, n: int, columns: int):
        self.n = n
        # Below about 2**16 entries a thread costs more than it saves.
        self.threads = max(1, min(torch.get_num_threads(), n, n * columns >> 16))
        self.pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def __enter__(self) -> RowThreads:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown()

    def __call__(self, work: Rows) -> None:
        """Call work(start, stop) over ranges that cover the rows: more ranges than threads, as rows differ in cost."""
        if self.pool is None:
            work(0, self.n)
            return
        cuts = np.linspace(0, self.n, 3 * self.threads + 1).astype(int).tolist()
        list(self.pool.map(work, cuts[:-1], cuts[1:]))


def slices(n: int, step: int) -> Iterator[slice]:
    """Yield slices of at most ``step`` rows that cover n rows."""
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


class _ProductPrecision:
    """Precision of float32 matrix products in this process, on behalf of the threads that compute at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = {"ieee": 0, "tf32": 0}
        self._before: list[tuple[Any, str]] = []

    @contextmanager
    def __call__(self, cuda: Literal["ieee", "tf32"] = "ieee") -> Iterator[None]:
        """Compute matrix products of float32 as stated, whatever the caller allows: the error bounds assume it.

        A CPU computes them in plain float32, a GPU in plain float32 ("ieee") or by tensor cores ("tf32"). The switches
        are those of the process: if threads disagree, all compute in plain float32, which every bound allows.
        """
        with self._lock:
            if not any(self._users.values()):
                self._before = [(switch, switch.fp32_precision) for switch in _switches().values()]
            self._users[cuda] += 1
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                self._users[cuda] -= 1
                if any(self._users.values()):
                    self._apply()
                else:
                    for switch, precision in self._before:
                        _set(switch, precision)

    def _apply(self) -> None:
        precisions = {"cuda": "ieee" if self._users["ieee"] else "tf32", "mkldnn": "ieee"}
        for name, switch in _switches().items():
            _set(switch, precisions[name])


matrix_products = _ProductPrecision()


def _set(switch: Any, precision: str) -> None:
    if switch.fp32_precision != precision:
        switch.fp32_precision = precision


def _switches() -> dict[str, Any]:
    """Return the switches of torch by backend."""
    switches = {name: getattr(getattr(torch.backends, name, None), "matmul", None) for name in ("cuda", "mkldnn")}
    by_backend = {name: switch for name, switch in switches.items() if hasattr(switch, "fp32_precision")}
    # torch before 2.9 has one switch for all; without a GPU "high" would allow a CPU to reduce precision.
    return by_backend or {"cuda" if torch.cuda.is_available() else "mkldnn": _OneSwitch()}


class _OneSwitch:
    """Switch of torch before 2.9, for all backends."""

    _NAMES: ClassVar[dict[str, str]] = {"ieee": "highest", "tf32": "high"}

    @property
    def fp32_precision(self) -> str:
        return torch.get_float32_matmul_precision()

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        torch.set_float32_matmul_precision(self._NAMES.get(precision, precision))


def square_matrix(n: int) -> torch.Tensor:
    """Return an uninitialised (n, n) float32 CPU matrix: that of this thread's last call if of the same size."""
    matrix = getattr(_thread_cache, "matrix", None)
    if matrix is None or len(matrix) != n:
        matrix = torch.empty(n, n, dtype=torch.float32)
        _thread_cache.matrix = matrix if 4 * n * n <= CACHED_BYTES else None
    return matrix


def centred(x: torch.Tensor) -> torch.Tensor:
    """Return x (n, d), centred if that shortens the rows: the cancellation in a - 2b + c shrinks."""
    mean = x.mean(0)
    square, length = torch.stack([mean @ mean, torch.linalg.vector_norm(x)]).tolist()
    if 2.0 * square <= length**2 / len(x):
        return x
    return x - mean


def rounding_slack(norms: torch.Tensor, d: int) -> torch.Tensor:
    """Return a bound (n,) float64 on the error of a row's float32 squared distances, from squared norms (n,) float64.

    A float32 inner product of length d has an error of about sqrt(d) units in the last place of |x||y| (the
    probabilistic bound of Higham and Mary, SIAM J. Sci. Comput. 41, 2019, with constant 1; the worst case, d, does not
    occur in practice). The sum of the three terms adds a few more.
    """
    longest = norms.max().sqrt()
    return (float(d**0.5) + 4.0) * 2.0**-24 * (norms.sqrt() + longest).square()


def squared_distances(x: torch.Tensor, rows: RowThreads) -> tuple[np.ndarray, np.ndarray]:
    """Return squared distances (n, n) float32 of x (n, d) float32 on the CPU, and `rounding_slack`.

    The matrix is valid until this thread's next call.
    """
    n, d = x.shape
    moved = centred(x)
    norms = torch.linalg.vecdot(moved, moved, dim=1).double()
    matrix = square_matrix(n)
    for rows_of_panel in slices(n, PANEL):
        columns = slice(rows_of_panel.stop)
        torch.mm(moved[rows_of_panel], moved[columns].T, out=matrix[rows_of_panel, columns])
    squares, lengths = matrix.numpy(), norms.float().numpy()
    rows(lambda start, stop: kernels.fill_squares(squares, lengths, start, stop))
    return squares, rounding_slack(norms, d).numpy()


@traced("distances and spanning tree", DEVICE)
def spanning_tree(x: torch.Tensor, k: int, kept: KeptClustering | None = None) -> SpanningTree:
    """Return the minimum spanning tree of x (n, d) float32 on the CPU, under mutual reachability.

    k is the number of other points within a core distance, 1 <= k < n. Distances that are kept are not computed again.
    """
    n, points = len(x), x.numpy()
    core, target = np.empty(n, np.float64), np.empty(n, np.int64)
    forest = Forest(n)
    with matrix_products(), RowThreads(n, n) as rows:
        squares, slack = (None if kept is None else kept.distances()) or squared_distances(x, rows)
        if kept is not None:
            kept.keep_distances(squares, slack)
        rows(lambda start, stop: kernels.core_squares(squares, points, slack, k, start, stop, core))
        rows(lambda start, stop: kernels.first_edges(squares, points, slack, core, start, stop, target))
        forest.join_first(target, core)
        while forest.n_components > 1:
            join_nearest(forest, squares, points, slack, core, rows)
    return forest.tree(core, kernels.tied_edges(squares, points, slack, core, shared_cores(core)))


def join_nearest(
    forest: Forest, squares: np.ndarray, points: np.ndarray, slack: np.ndarray, core: np.ndarray, rows: RowThreads
) -> None:
    """Run one round of Boruvka's algorithm: add every component's cheapest edge to another.

    A first pass in float32 leaves a few rows of each component that can contain it; only those are computed exactly.
    """
    component = forest.components()
    narrow, bits = component.astype(np.int32), squares.view(np.int32)
    core_bits = core.astype(np.float32).view(np.int32)
    outside = np.empty(len(core), np.int32)
    rows(lambda start, stop: kernels.cheapest_outside(bits, core_bits, narrow, start, stop, outside))
    bound = np.maximum(outside.view(np.float32).astype(np.float64), core)
    count = forest.n_components
    least = np.full(count, np.inf)
    np.minimum.at(least, component, bound + slack)
    hopeful = np.flatnonzero(bound - slack <= least[component] * (1.0 + 1e-6))
    # Cheapest first, so that the first row already excludes nearly every pair of the others.
    hopeful = hopeful[np.argsort(bound[hopeful], kind="stable")]
    weight, low, high = np.full(count, np.inf), np.full(count, len(core)), np.full(count, len(core))
    kernels.exact_outside(squares, points, slack, core, component, hopeful, weight, low, high)
    forest.join(low, high, weight)
