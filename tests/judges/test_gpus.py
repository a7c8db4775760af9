"""Names of the visible GPUs, and their division."""

from __future__ import annotations

import pytest

from judges.gpus import VARIABLE, GpuPool, visible_gpus


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        (None, 0, ()),
        (None, 2, ("0", "1")),
        ("", 0, ()),
        ("3,1", 2, ("3", "1")),
        ("2, 0,-1,1", 2, ("2", "0")),
        ("GPU-8932f937,GPU-1a", 2, ("GPU-8932f937", "GPU-1a")),
        # PyTorch counts one part of a GPU, since a process can use only one.
        ("MIG-aa,MIG-bb,MIG-aa", 1, ("MIG-aa", "MIG-bb")),
        ("MIG-aa,MIG-bb", 0, ()),
        ("0,1", 0, ()),
    ],
)
def test_visible_gpus(
    monkeypatch: pytest.MonkeyPatch, given: str | None, count: int, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv(VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(VARIABLE, given)
    assert visible_gpus() == expected


def test_counting_does_not_initialise_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def initialised() -> None:
        raise AssertionError("CUDA was initialised")

    monkeypatch.setattr("torch.cuda._lazy_init", initialised)
    monkeypatch.setattr("torch.cuda.init", initialised)
    visible_gpus()


def test_a_pool_gives_each_gpu_to_one_user() -> None:
    pool = GpuPool(("a", "b", "c"))
    first, second = pool.take(1), pool.take(2)
    assert first == ("a",) and second == ("b", "c") and pool.take(1) is None
    pool.give_back(second)
    pool.give_back(first)
    assert pool.take(3) == ("a", "b", "c")


def test_without_a_gpu_a_pool_has_one_user() -> None:
    pool = GpuPool(())
    assert pool.take(4) == () and pool.take(1) is None
    pool.give_back(())
    assert pool.take(1) == ()
