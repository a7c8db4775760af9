"""Counts of a training step: closed forms, and that every family's step can be counted without values."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
import training_launches
from no_kernels import without_kernels
from torch.nn import functional
from training_launches import Count, counted, trained_families

from methods.sae import fused_pursuit


def test_a_product_reads_its_factors_and_writes_its_result() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7, dtype=torch.float32)
    with Count() as count:
        a @ b
    assert count.operations == {"mm": 1}
    assert count.traffic == {"mm": 4 * (3 * 5 + 5 * 7 + 3 * 7)}
    assert count.arithmetic == {torch.float32: 2 * 3 * 5 * 7}


def test_views_and_empty_tensors_are_free() -> None:
    a = torch.ones(4, 6)
    with Count() as count:
        a.T[1:].reshape(-1, 2).detach()
        a.view(2, 12)[:, None]
        torch.empty(5)
    assert set(count.operations) <= {"clone"}, "a transposed matrix is copied to be reshaped"


def test_what_is_expanded_is_read_once_and_what_is_overwritten_is_not_read() -> None:
    a, b = torch.ones(4, 6), torch.ones(4, 1)
    with Count() as count:
        a.addcmul_(b.expand(4, 6), a.clone(), value=-1)
    assert count.traffic == {"clone": 4 * 2 * 24, "addcmul_": 4 * (24 + 24 + 4 + 24)}
    with Count() as count:
        a.fill_(1.0)
        a.copy_(b)
    assert count.traffic == {"fill_": 4 * 24, "copy_": 4 * (24 + 4)}


def test_chosen_rows_count_and_the_others_do_not() -> None:
    table, rows = torch.zeros(1000, 8), torch.tensor([3, 5])
    with Count() as count:
        added = table.index_select(0, rows)
        table.index_add_(0, rows, added)
        functional.embedding_bag(rows[None], table, per_sample_weights=torch.ones(1, 2), mode="sum")
    assert count.traffic["index_select"] == 4 * (16 + 16) + 16
    assert count.traffic["index_add_"] == 4 * (16 + 2 * 16) + 16
    # Two rows are read and one is written; indices, offsets and lengths of bags are integers.
    bag = next(traffic for name, traffic in count.traffic.items() if "embedding_bag" in name)
    assert 4 * (16 + 8) <= bag <= 4 * (16 + 8) + 100


def test_kernels_read_a_row_for_each_step() -> None:
    n, n_units, d, k = 6, 10, 4, 3
    atoms, x, path = torch.eye(n_units, d), torch.ones(n, d), (torch.zeros(n, k).long(), torch.zeros(n, k))
    gram = torch.eye(n_units)
    with warnings.catch_warnings(), Count() as count:
        warnings.simplefilter("ignore")  # Triton fails on a CPU
        fused_pursuit.choose(x @ atoms.T, gram, k)
        fused_pursuit.add_gradient(atoms, *path, x, x, atoms)
    assert count.operations == {"mm": 1, "matching_pursuit::choose": 1, "matching_pursuit::add_gradient": 1}
    assert count.traffic["matching_pursuit::choose"] == 4 * (n * n_units + (k - 1) * n * n_units + n * k) + 8 * n * k
    assert count.traffic["matching_pursuit::add_gradient"] == 4 * (2 * n * d + n * k + 3 * n * k * d) + 8 * n * k


def test_kernels_replace_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernels(monkeypatch)
    counts = []
    for with_kernels in (True, False):
        monkeypatch.setattr(fused_pursuit, "fused_here", lambda row, here=with_kernels: here)
        counts.append(counted("matching_pursuit_sae", "float32", 16, 64, 64))
    assert counts[0].operations < counts[1].operations - 50
    assert counts[0].gigabytes < counts[1].gigabytes / 2


#: Its choices take 19,000 operations, which are counted one by one.
LONG = [pytest.param("omp_sae", marks=pytest.mark.slow)]


@pytest.mark.parametrize("family", [*(name for name in trained_families() if name != "omp_sae"), *LONG])
def test_every_step_is_counted(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation of a step needs a value to know the size of its result."""
    without_kernels(monkeypatch)
    small = counted(family, "float32", 16, 64, 32)
    assert small.operations > 20
    assert small.tera(torch.bfloat16) == 0 < small.tera(torch.float32)
    large = counted(family, "float32", 16, 64, 320)
    assert large.operations == small.operations
    assert large.gigabytes > 2 * small.gigabytes


def test_the_table_has_every_family(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(training_launches, "as_on_a_gpu", lambda with_kernels: None)
    without_kernels(monkeypatch)
    sizes = ["--width", "16", "--units", "64", "--batch-size", "32"]
    monkeypatch.setattr(sys, "argv", ["training_launches.py", *sizes, "--family", "topk_sae", "--operations"])
    training_launches.main()
    printed = capsys.readouterr().out
    assert printed.startswith("16 -> 64 units, 32 tokens per step") and printed.count("topk_sae") == 2
    assert "_fused_adam_" in printed
