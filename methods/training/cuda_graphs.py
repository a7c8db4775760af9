"""Recording of a function as a CUDA graph, such that a recording that fails leaves the process usable."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch


class CudaGraphs:
    """Recorder of CUDA graphs; a backend of :class:`methods.training.graphs.Steps`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        # Libraries keep one workspace per stream: what they allocate for the stream of the recording must not come
        # from the memory of the graph.
        stream, current = _stream(self.device), torch.cuda.current_stream(self.device)
        with _USING_THE_STREAM:
            stream.wait_stream(current)
            try:
                with torch.cuda.stream(stream):
                    yield
            finally:
                current.wait_stream(stream)

    @contextlib.contextmanager
    def strict(self) -> Iterator[None]:
        # An operation that waits for the device would make the recording invalid, of which torch's allocator does not
        # recover by itself. Here it raises a plain error.
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Synchronization debug mode")
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(mode)

    def record(self, step: Callable[[], None]) -> CudaRecording:
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        # The outer context restores the stream: a recording that fails at its end leaves its own. Threads that read
        # batches ahead use the device meanwhile, so only calls of this thread are checked.
        try:
            with (
                _USING_THE_STREAM,
                torch.cuda.stream(torch.cuda.current_stream(self.device)),
                torch.cuda.graph(graph, pool=pool, stream=_stream(self.device), capture_error_mode="thread_local"),
            ):
                step()
        except BaseException:
            self._leave(pool)
            raise
        return CudaRecording(graph, self.device)

    def _leave(self, pool: Any) -> None:
        """Let the allocator leave the memory of a recording that became invalid, as its proper end would have done."""
        names = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")  # the second in torch 2.6
        end = next(getattr(torch._C, name) for name in names if hasattr(torch._C, name))
        try:
            end(self.device.index, pool)
        except Exception:
            # It ended properly, and the graph releases its memory itself.
            return
        torch._C._cuda_releasePool(self.device.index, pool)


class CudaRecording:
    """A recorded function."""

    def __init__(self, graph: torch.cuda.CUDAGraph, device: torch.device) -> None:
        self._graph, self._device = graph, device

    def replay(self) -> None:
        self._graph.replay()

    def free(self) -> None:
        torch.cuda.synchronize(self._device)
        self._graph.reset()
        torch.cuda.empty_cache()


#: Work that another thread gives to the stream of a recording would become part of it, and would not be done.
_USING_THE_STREAM = threading.Lock()


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all recordings of a device: one workspace for all trainings."""
    # torch hands out 32 streams of each priority in turn, so one of the usual priority may be that of a thread that
    # copies batches.
    return torch.cuda.Stream(device, priority=-1)
