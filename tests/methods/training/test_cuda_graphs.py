"""Recording with CUDA: the calls of torch.cuda without a GPU, and failed recordings on one."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from methods.training import cuda_graphs
from methods.training.cuda_graphs import CudaGraphs


class TestCallsOfCuda:
    """Order of the calls of torch.cuda, and what a failed recording sets back; without a GPU."""

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        calls: list[str] = []
        mode = [0]

        class Graph:
            def replay(self) -> None:
                calls.append("replay")

            def reset(self) -> None:
                calls.append("reset")

        class Stream:
            def __init__(self, device: Any = None, priority: int = 0) -> None:
                self.name = f"stream of priority {priority}"

            def wait_stream(self, other: Any) -> None:
                calls.append(f"{self.name} waits for {other.name}")

        @contextlib.contextmanager
        def using(name: str) -> Iterator[None]:
            calls.append(f"enter {name}")
            try:
                yield
            finally:
                calls.append(f"leave {name}")

        current = Stream()
        current.name = "current"

        def graph(graph: Any, pool: Any, stream: Any, capture_error_mode: str) -> Any:
            return using(f"recording in {pool}, {stream.name}, {capture_error_mode}")

        def set_mode(value: Any) -> None:
            mode[0] = {"error": 2}.get(value, value)
            calls.append(f"mode {mode[0]}")

        fakes = {
            "CUDAGraph": Graph, "Stream": Stream, "graph": graph, "set_sync_debug_mode": set_mode,
            "graph_pool_handle": lambda: "pool", "current_stream": lambda device=None: current,
            "stream": lambda stream: using(stream.name), "get_sync_debug_mode": lambda: mode[0],
            "synchronize": lambda device=None: calls.append("synchronise"),
            "empty_cache": lambda: calls.append("empty cache"),
        }  # fmt: skip
        assert {"pool", "stream", "capture_error_mode"} <= set(inspect.signature(torch.cuda.graph).parameters)
        for name, fake in fakes.items():
            assert hasattr(torch.cuda, name)
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(cuda_graphs, "_stream", lambda device: Stream(device, -1))
        return calls

    def backend(self) -> CudaGraphs:
        return CudaGraphs(torch.device("cuda", 0))

    def test_steps_before_the_recording_run_in_its_stream(self, calls: list[str]) -> None:
        with self.backend().apart():
            calls.append("step")
        side = "stream of priority -1"
        waits = f"{side} waits for current", f"current waits for {side}"
        assert calls == [waits[0], f"enter {side}", "step", f"leave {side}", waits[1]]

    @pytest.mark.parametrize("fails", [True, False])
    def test_the_strict_mode_is_set_back(self, calls: list[str], fails: bool) -> None:
        with contextlib.suppress(RuntimeError), self.backend().strict():
            calls.append("step")
            if fails:
                raise RuntimeError
        assert calls == ["mode 2", "step", "mode 0"]

    def test_a_recording_is_replayed_and_freed(self, calls: list[str]) -> None:
        recording = self.backend().record(lambda: calls.append("step"))
        recorded = "recording in pool, stream of priority -1, thread_local"
        assert calls == ["enter current", f"enter {recorded}", "step", f"leave {recorded}", "leave current"]
        calls.clear()
        recording.replay()
        recording.free()
        assert calls == ["replay", "synchronise", "reset", "empty cache"]

    @pytest.mark.parametrize("underway", [True, False])
    def test_a_recording_that_fails_leaves_its_memory_once(
        self, calls: list[str], underway: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Released here only if the recording did not end: otherwise the graph releases it, and twice is an abort."""

        def end(device: int, pool: str) -> None:
            if not underway:
                raise RuntimeError("not currently recording to mempool_id")
            calls.append(f"end of {pool} on {device}")

        def release(device: int, pool: str) -> None:
            calls.append(f"release of {pool} on {device}")

        def fails() -> None:
            raise ValueError("on purpose")

        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", release, raising=False)
        with pytest.raises(ValueError, match="on purpose"):
            self.backend().record(fails)
        assert calls[4:] == (["end of pool on 0", "release of pool on 0"] if underway else [])


@pytest.mark.gpu
@pytest.mark.parametrize("failure", ["a wait", "an error", "no memory"])
def test_on_a_gpu_a_failed_recording_leaves_the_process_usable(failure: str) -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    backend, x = CudaGraphs(device), torch.ones(3, device=device)

    def fails() -> None:
        x.add_(1)
        if failure == "a wait":
            x.sum().item()
        elif failure == "an error":
            raise ValueError("on purpose")
        else:
            torch.empty(1 << 50, device=device)

    stream = torch.cuda.current_stream(device)
    with pytest.raises(Exception, match=r"captur|on purpose|out of memory"):
        backend.record(fails)
    assert torch.cuda.current_stream(device) == stream
    assert float(x.sum()) == 3, "nothing was computed"
    recording = backend.record(lambda: x.add_(1) and None)
    recording.replay()
    assert float(x.sum()) == 6
    recording.free()
