"""Failures of a cell as text: what a user can do, and the original error."""

from __future__ import annotations

import pytest
import torch

from harness.cells.run_cell import OUT_OF_MEMORY, Failure


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 PiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_missing_memory_is_a_sentence_with_remedies(error: BaseException) -> None:
    failure = Failure.of(error)
    assert failure.message.startswith(OUT_OF_MEMORY) and type(error).__name__ in failure.message
    assert "batch_size" in failure.message and failure.error_type == type(error).__name__


def test_missing_memory_of_this_machine_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2**58)
    assert Failure.of(caught.value).message.startswith(OUT_OF_MEMORY)


def test_other_errors_keep_their_message() -> None:
    failure = Failure.of(ValueError("k is 0; it must be at least 1"))
    assert failure == ("ValueError", "k is 0; it must be at least 1", failure.traceback)
    assert Failure.of(KeyboardInterrupt()).message == "KeyboardInterrupt"
