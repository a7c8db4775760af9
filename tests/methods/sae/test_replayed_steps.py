"""Replayed training steps of every trained family are those that are computed, to the bit; see docs/gpu.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from in_memory import MemoryTokens, small_layer
from no_kernels import without_kernels
from step_recorder import Recorder
from variants import Variant, variants

import methods
from methods.sae.method import SparseMethod, training_bytes
from methods.training import graphs, loop
from methods.training.checkpoint import Checkpoint

pytestmark = pytest.mark.run

#: Three full batches and a smaller one per epoch.
TOKENS, BATCH, EPOCHS = 112, 32, 4
WARM_UP = 3


class Interrupted(Exception):
    pass


def trained() -> list[str]:
    return [name for name in methods.names() if issubclass(methods.METHODS.get(name), SparseMethod)]


def small(variant: Variant, **more: Any) -> dict[str, Any]:
    return {**variant.config, "batch_size": BATCH, "epochs": EPOCHS, "learning_rate": 1e-2, **more}


#: Families whose steps have shapes of their own.
NEVER_REPLAYED = ("random_matryoshka_sae",)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense products, learning rates in float32, and recordings of short trainings."""
    without_kernels(monkeypatch)
    exact = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *args: float(torch.tensor(exact(*args), dtype=torch.float32)))
    monkeypatch.setattr(graphs, "LEAST_STEPS", 8)
    monkeypatch.setattr(graphs, "WARM_UP_STEPS", WARM_UP)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The recorder of all trainings that start after :func:`use`."""
    return Recorder()


def use(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "backend_for", lambda device: backend)


def expected_replays(config: dict[str, Any]) -> int:
    """Return the number of full batches after the first ones, from the end of the warm-up of k on if there is one."""
    per_epoch = TOKENS // BATCH + 1
    first = round(config.get("k_warmup", 0.0) * per_epoch * EPOCHS)
    return sum(step % per_epoch != per_epoch - 1 for step in range(first, per_epoch * EPOCHS)) - WARM_UP


def of_replay(method: Any) -> list[str]:
    """Return the notes apart from those on dead units, on a skip connection and on a bound of the atoms."""
    others = "active on no token", "skip connection", "smallest cosine"
    return [note for note in method.notes if not any(part in note for part in others)]


def assert_same(one: Any, other: Any) -> None:
    for part in one.fitted:
        assert torch.equal(getattr(one, part), getattr(other, part)), part
    assert one.history == other.history
    assert one.notes == other.notes and of_replay(one) == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", trained())
def test_replayed_trainings_are_those_that_are_computed(
    name: str, precision: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every option of the family: parameters, thresholds, curves and notes."""
    site, tokens = small_layer(n=TOKENS)
    expected = replays = 0
    for variant in variants(name):
        config = small(variant, precision=precision)
        with monkeypatch.context() as patch:
            use(None, patch)
            computed = methods.create(name, **config).fit(tokens, site, seed=3)
            use(recorder, patch)
            replayed = methods.create(name, **config).fit(tokens, site, seed=3)
        assert_same(replayed, computed)
        expected += 0 if name in NEVER_REPLAYED else expected_replays(config)
        replays += name not in NEVER_REPLAYED
        assert recorder.replays == expected, variant.what
    assert recorder.recordings == recorder.freed == replays


@pytest.mark.parametrize("stop_at", [2, 6, 11])
@pytest.mark.parametrize("name", trained())
def test_a_resumed_training_is_replayed_to_the_same_bits(
    name: str, stop_at: int, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before the recording, while steps are replayed, and where the rest is too short to be recorded."""
    site, tokens = small_layer(n=TOKENS)
    config = small(variants(name)[0])
    use(None, monkeypatch)
    whole = methods.create(name, **config).fit(tokens, site, seed=3)

    def stop(done: int, total: int, what: str) -> None:
        if done == stop_at:
            raise Interrupted

    use(recorder, monkeypatch)
    method: Any = methods.create(name, **config)
    method.checkpoint = Checkpoint(tmp_path / "run.safetensors", every_seconds=0)
    with pytest.raises(Interrupted):
        method.fit(tokens, site, seed=3, progress=stop)
    assert recorder.freed == recorder.recordings
    before = recorder.replays
    assert_same(method.fit(tokens, site, seed=3), whole)
    assert (recorder.replays > before) == (stop_at < 11 and name not in NEVER_REPLAYED)


def test_a_checkpoint_of_replayed_steps_is_that_of_computed_steps(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, tokens = small_layer(n=TOKENS)
    config = small(variants("batchtopk_sae")[0])
    files = []

    def stop(done: int, total: int, what: str) -> None:
        if done == 12:
            raise Interrupted

    for backend in (None, recorder):
        use(backend, monkeypatch)
        method: Any = methods.create("batchtopk_sae", **config)
        method.checkpoint = Checkpoint(tmp_path / f"{len(files)}.safetensors", every_seconds=0)
        with pytest.raises(Interrupted):
            method.fit(tokens, site, seed=3, progress=stop)
        files.append(method.checkpoint.path.read_bytes())
    assert recorder.replays > 0
    assert files[0] == files[1]


def test_memory_that_runs_out_in_a_recording_first_takes_the_tokens_and_then_the_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site, tokens = small_layer(n=TOKENS)
    config = small(variants("topk_sae")[0])
    use(None, monkeypatch)
    computed = methods.create("topk_sae", **config).fit(tokens, site, seed=3)

    class Full(Recorder):
        def record(self, step: Any) -> Recorder:
            super().record(step)
            raise torch.OutOfMemoryError("out of memory")

    full = Full()
    use(full, monkeypatch)
    method = methods.create("topk_sae", **config).fit(tokens, site, seed=3)
    for part in method.fitted:
        assert torch.equal(getattr(method, part), getattr(computed, part)), part
    assert full.recordings == 2 and full.replays == 0
    assert len(of_replay(method)) == 2
    assert any("read batch by batch" in note for note in method.notes)
    assert any("cannot be replayed as a CUDA graph (OutOfMemoryError: out of memory)" in note for note in method.notes)


def test_memory_is_left_for_a_second_step_and_the_copies_of_a_test() -> None:
    """In multiples of the parameters: 4 for them, their gradient and Adam's averages, and 6 for two copies of three."""
    parameters = 4 * 100 * (8 + 16)
    assert training_bytes(100, [8, 16], 0) == 4 * parameters
    assert training_bytes(100, [8, 16], 0, replayed=True) == 10 * parameters
    step = training_bytes(100, [8, 16], 50) - 4 * parameters
    assert training_bytes(100, [8, 16], 50, replayed=True) == 10 * parameters + 2 * step


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", trained())
def test_on_a_gpu_replayed_trainings_are_those_that_are_computed(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, but for matching pursuit, whose gradient is added up in any order."""
    site, tokens = small_layer(n=TOKENS)
    replays: list[None] = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: replays.append(replay(graph)))
    for variant in variants(name):
        config = small(variant, precision=precision)
        results = []
        for choice in (graphs.OFF, graphs.AUTO):
            monkeypatch.setenv(graphs.VARIABLE, choice)
            results.append(methods.create(name, **config).fit(tokens, site, seed=3, device="cuda"))
        computed, replayed = results
        assert of_replay(computed) == of_replay(replayed) == [], variant.what
        assert len(replays) == (0 if name in NEVER_REPLAYED else expected_replays(config)), variant.what
        replays.clear()
        if name == "matching_pursuit_sae":
            torch.testing.assert_close(replayed.atoms, computed.atoms, rtol=1e-3, atol=1e-4)
        else:
            assert_same(replayed, computed)


@pytest.mark.gpu
def test_on_a_gpu_the_memory_of_a_graph_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = MemoryTokens(torch.randn(4096, 8, generator=generator), torch.randn(4096, 64, generator=generator))
    site, _ = small_layer(d_in=8, d_out=64)
    config = {"k": 8, "expansion_factor": 16, "batch_size": 512, "epochs": 3}
    reserved = []
    for _ in range(4):
        methods.create("topk_sae", **config).fit(tokens, site, seed=3, device="cuda")
        torch.cuda.empty_cache()
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[1] == reserved[-1], reserved
