"""A fit that no memory could hold is refused before anything is allocated; sizes are printed in a fitting unit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import methods
from harness.check.world import small_layer
from methods import memory
from methods.errors import ArgumentError, UserError
from methods.memory import least_memory_of, memory_of
from results.byte_sizes import size_text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 bytes"), (1, "1 byte"), (624, "624 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"),
        (1048570, "1.0 MiB"), (12.5 * 2**20, "12.5 MiB"), (3 * 2**30, "3.0 GiB"), (2.25 * 2**40, "2.2 TiB"),
        (2**63, "8.0 EiB"), (10**30, "8.67e+11 EiB"),
    ],
)  # fmt: skip
def test_a_size_has_the_unit_that_fits(n_bytes: float, text: str) -> None:
    assert size_text(n_bytes) == text


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("topk_sae", {"expansion_factor": 100_000}),
        ("matching_pursuit_sae", {"expansion_factor": 100_000}),
        ("random_dictionary", {"expansion_factor": 100_000}),
        ("random_split", {"parts": 100_000}),
    ],
)
def test_a_fit_beyond_the_memory_is_refused(
    name: str, config: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("methods.memory.memory_of", lambda device: 100 * 2**20)
    site, tokens = small_layer()
    method = methods.create(name, **config)
    needed = method.least_memory(method.config, site.d_in, site.d_out)
    if needed < 2**28:
        monkeypatch.setattr(type(method), "least_memory", classmethod(lambda *_: 2**40))
    with pytest.raises(UserError, match=rf"{name} needs at least .*iB of memory .* has 100\.0 MiB"):
        method.fit(tokens, site, seed=1)


def test_the_memory_of_this_machine_is_known() -> None:
    memory = memory_of("cpu")
    assert memory is None or memory > 2**28


@pytest.mark.parametrize("returned", ["1 GB", math.nan, None, True])
def test_a_need_that_is_no_number_of_bytes_is_refused(returned: object, monkeypatch: pytest.MonkeyPatch) -> None:
    method = type(methods.create("random_dictionary"))
    monkeypatch.setattr(method, "least_memory", classmethod(lambda *_: returned))
    with pytest.raises(
        ArgumentError, match=r"random_dictionary.least_memory\(\) returns a \w+; it must return a whole"
    ):
        least_memory_of(method, method.Config(), 3, 4)


# ---- free memory


def group(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text)
    return folder


def test_memory_left_to_a_control_group(tmp_path: Path) -> None:
    stat = "anon 300\nfile 150\ninactive_file 120\nactive_file 30\n"
    assert memory._group_memory(group(tmp_path / "a", max="1000\n", current="450\n", stat=stat)) == 670
    assert memory._group_memory(group(tmp_path / "b", max="1000\n", current="1200\n")) == 0
    assert memory._group_memory(group(tmp_path / "c", max="max\n", current="450\n", stat=stat)) is None
    assert memory._group_memory(tmp_path / "absent") is None
    assert memory._group_memory(group(tmp_path / "d", max="", current="nothing")) is None


def test_the_limit_of_every_group_above_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/proc/self/cgroup": "0::/job/step\n", "/proc/meminfo": "MemFree: 1 kB\nMemAvailable:    4000 kB\n"}
    real = memory._text
    monkeypatch.setattr(memory, "_text", lambda file: texts.get(str(file)) or real(file))
    groups = memory._control_groups(tmp_path)
    assert groups == [tmp_path / "job" / "step", tmp_path / "job", tmp_path]
    monkeypatch.setattr(memory, "_control_groups", lambda: groups)
    monkeypatch.setattr(memory.torch, "get_num_threads", lambda: 1 << 20)
    assert memory.free_memory("cpu") == 4_096_000
    group(tmp_path / "job", max="3000000", current="1000000")
    group(tmp_path / "job" / "step", max="max", current="1")
    assert memory.free_memory("cpu") == 2_000_000
    monkeypatch.setattr(memory.torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(memory.os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert memory.free_memory("cpu") == 500_000, "a worker with one of four cores takes a quarter"


def test_a_system_without_these_files_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_text", lambda _: "")
    assert memory.free_memory("cpu") is None


def test_free_memory_of_this_machine_is_part_of_it() -> None:
    free, whole = memory.free_memory("cpu"), memory.memory_of("cpu")
    assert free is None or whole is None or 0 < free <= whole


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError("No space left on device"), False),
    ],
)
def test_errors_of_memory_that_ran_out(error: Exception, ran_out: bool) -> None:
    assert memory.is_out_of_memory(error) is ran_out


@pytest.mark.gpu
def test_free_memory_of_a_gpu_counts_what_torch_holds_unused() -> None:
    before = memory.free_memory("cuda")
    held = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    during = memory.free_memory("cuda")
    del held
    after = memory.free_memory("cuda")
    assert before is not None and during is not None and after is not None
    assert before - during >= 1 << 28 and abs(after - before) < 1 << 26
