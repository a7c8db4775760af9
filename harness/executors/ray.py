"""Cells as Ray tasks: several at a time on this machine, or on all machines of a Ray cluster.

This process plans, submits the cells and is the only writer of the store. A task carries plain data
(:mod:`harness.executors.worker`). Ray's own retries are off: a cell whose worker died is submitted again here, a
limited number of times.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from harness import devices
from harness.errors import UserError, first_line
from harness.executors.base import EXECUTORS, Event, Executor, Work

if TYPE_CHECKING:
    from harness.executors.ray_dispatch import Cluster

#: Set before Ray is imported: no usage statistics are sent, and no environments are built.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # Ray's default of 15 would give priority to all other processes and distort measured times.
    "RAY_worker_niceness": "0",
}

#: Results are a few MB each; Ray's default would be a third of the memory.
_RESULTS_BYTES = 512 * 2**20


@EXECUTORS.register()
@dataclass(eq=False)
class Ray(Executor):
    """Compute cells as tasks of a Ray instance that this process starts and stops, or of a running cluster.

    Args:
        workers: number of cells at a time; None: one per GPU (share), or one per CPU core if the memory allows it; on a
            cluster as many as fit.
        address: address of a cluster (``auto``: the one of this machine); None starts Ray here.
        threads: CPU threads per cell; None: the cores of this machine divided by the workers, on a cluster 1.
        gpu_share: share of a GPU per cell; 0.5 puts two cells on each.
        retries: number of times a cell is retried after its worker died.
        fit_parts: parts into which a fit is divided if its items are independent
            (:class:`methods.divisible.DivisibleFit`); None: as many as there are idle workers; 1: fits stay whole.

    Raises:
        UserError: for a number out of range.
    """

    name = "ray"
    description = "several cells at a time, here or on a Ray cluster (the extra `ray`)"

    workers: int | None = None
    address: str | None = None
    threads: int | None = None
    gpu_share: float = 1.0
    retries: int = 2
    fit_parts: int | None = None
    _cluster: Cluster | None = field(default=None, init=False)
    _started: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        counts = {"--workers": self.workers, "--threads": self.threads, "--fit-parts": self.fit_parts}
        for option, value in counts.items():
            if value is not None and value < 1:
                raise UserError(f"{option} {value}: it must be at least 1.")
        if not 0 < self.gpu_share <= 1:
            raise UserError(f"--gpu-share {self.gpu_share:g}: it must be above 0 and at most 1, a whole GPU.")
        if self.retries < 0:
            raise UserError(f"--retries {self.retries}: it must be 0 or more.")

    # ---- interface of a run

    def planning_device(self, device: str) -> str:
        if device not in ("auto", "cpu", "cuda"):
            raise UserError(
                f"--device {device}: with --executor ray use auto, cpu or cuda; Ray assigns a GPU to each cell."
            )
        _import()
        # Planning needs the network once, for its shapes; the GPUs are for the workers.
        return "cpu"

    def device_name(self, device: str) -> str:
        cluster = self._open(device)
        name = "cuda" if cluster.gpu_share else devices.device_name("cpu")
        return f"{name}, {cluster.description()}"

    def versions(self) -> dict[str, str]:
        if self._cluster is None:
            return {}
        return {"ray": _import().__version__, "threads": str(self._cluster.threads)}

    def execute(self, work: Work) -> Iterator[Event]:
        from harness.executors.ray_dispatch import Dispatch

        yield from Dispatch(_import(), self._open(work.device), work, self.retries).events()

    # ---- starting and stopping

    def _open(self, device: str) -> Cluster:
        ray = _import()
        if self._cluster is None:
            if not ray.is_initialized():
                self._start(ray, device)
            self._cluster = self._cluster_of(ray, device)
        return self._cluster

    def _start(self, ray: Any, device: str) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self.address is not None:
            options["address"] = self.address
        else:
            gpus = devices.gpu_count() if device != "cpu" else 0
            workers = self.workers or (int(gpus / self.gpu_share) if gpus else devices.default_workers("cpu"))
            threads = self.threads or max(1, devices.core_count() // workers)
            self.workers, self.threads = workers, threads
            options |= {"num_cpus": workers * threads, "num_gpus": gpus, "include_dashboard": False}
            options |= {"object_store_memory": _RESULTS_BYTES}
        try:
            with _signal_handlers_unchanged():
                ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            where = f"The Ray cluster at {self.address}" if self.address else "Ray on this machine"
            hint = "give --address HOST:6379 as printed by `ray start`" if self.address else "use --executor local"
            raise UserError(f"{where} cannot be reached ({first_line(error)}): {hint}.") from error
        self._started = True

    def _cluster_of(self, ray: Any, device: str) -> Cluster:
        from harness.executors.ray_dispatch import Cluster

        nodes = [node["Resources"] for node in ray.nodes() if node.get("Alive")]
        gpus = sum(node.get("GPU", 0.0) for node in nodes)
        if device == "cuda" and not gpus:
            raise UserError("--device cuda: no machine of the Ray cluster has a GPU. Use --device cpu or auto.")
        threads, gpu_share = self.threads or 1, self.gpu_share if gpus and device != "cpu" else 0.0
        fitting = sum(_cells_that_fit(node, threads, gpu_share) for node in nodes)
        return Cluster(
            nodes=len(nodes),
            cpus=int(max((node.get("CPU", 0.0) for node in nodes), default=1)),
            memory=int(max((node.get("memory", 0.0) for node in nodes), default=0)),
            workers=self.workers,
            threads=threads,
            gpu_share=gpu_share,
            slots=max(1, fitting if self.workers is None else min(fitting, self.workers)),
            fit_parts=self.fit_parts,
        )

    def release(self) -> None:
        # Workers keep their backbones. Those of a running cluster are not this process's to end.
        if self._started and self.address is None and self._cluster is not None and self._cluster.gpu_share:
            self.stop()

    def stop(self) -> None:
        self._cluster = None
        if self._started:
            self._started = False
            with _signal_handlers_unchanged():
                _import().shutdown()


def _cells_that_fit(node: Mapping[str, float], threads: int, gpu_share: float) -> int:
    """Return the number of cells that the CPUs and GPUs of a machine suffice for at a time."""
    cells = int(node.get("CPU", 0.0) / threads)
    # A share of 0.1 fits ten times on a GPU, whatever its rounding.
    return min(cells, int(node.get("GPU", 0.0) / gpu_share + 1e-9)) if gpu_share else cells


def _import() -> Any:
    """Return the module ray, with usage statistics and log output off.

    Raises:
        UserError: if Ray is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "--executor ray needs the package ray, which is not installed: pip install 'disentanglement-harness[ray]'."
        ) from error
    return ray


@contextlib.contextmanager
def _signal_handlers_unchanged() -> Iterator[None]:
    """Restore the signal handlers of the process: Ray's handler of SIGTERM ends it without a record in the store."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, _default if handler is None else handler)


def _default(number: int, frame: FrameType | None) -> None:
    """Replace a handler that was installed outside of Python, which cannot be restored."""
    raise KeyboardInterrupt
