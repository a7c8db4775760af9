"""Selection of the largest entries of rows, and of those above a floor, by the compiled kernels."""

from __future__ import annotations

import pytest
import torch

from methods.training import kernels


@pytest.mark.parametrize("k", [1, 7, 40, 100])
def test_row_selection_against_a_sort(k: int) -> None:
    pre = torch.randn(33, 100, generator=torch.Generator().manual_seed(k))
    wanted = pre.sort(1, descending=True).values
    units, values = torch.empty(33, k, dtype=torch.long), torch.empty(33, k)
    kernels.largest(pre.numpy(), k, units.numpy(), values.numpy())
    assert torch.equal(values.sort(1, descending=True).values, wanted[:, :k])
    assert torch.equal(pre.gather(1, units), values)
    assert bool((units.diff(dim=1) > 0).all())
    cut = torch.empty(33)
    kernels.cuts(pre.numpy(), k, cut.numpy())
    enough = (pre > 0).sum(1) >= k
    assert torch.equal((pre >= cut[:, None]).sum(1)[enough], torch.full((33,), k)[enough])
    assert not cut[~enough].any() and bool(enough.any()) == (k < 60)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_selection_where_entries_are_equal_or_extreme(dtype: torch.dtype) -> None:
    tiny, huge = torch.finfo(dtype).smallest_normal, torch.finfo(dtype).max
    rows = [[1.0, 1, 1, 1, 1, 1], [0.0, 2, 2, 2, 3, -1], [tiny, 2 * tiny, 0, 0, 0, 4 * tiny], [-huge, huge, 0, 1, 2, 3]]
    rows += [[-float("inf"), float("inf"), 1, 2, 3, 4], [-3.0, -2, -1, -5, -4, -6]]
    pre = torch.tensor(rows, dtype=dtype)
    units, values, cut = (
        torch.empty(6, 3, dtype=torch.long),
        torch.empty(6, 3, dtype=dtype),
        torch.empty(6, dtype=dtype),
    )
    kernels.largest(pre.numpy(), 3, units.numpy(), values.numpy())
    assert units.tolist() == [[0, 1, 2], [1, 2, 4], [0, 1, 5], [1, 4, 5], [1, 4, 5], [0, 1, 2]]
    assert torch.equal(pre.gather(1, units), values)
    kernels.cuts(pre.numpy(), 3, cut.numpy())
    assert (pre >= cut[:, None]).sum(1).tolist() == [6, 4, 3, 3, 3, 0]
    assert cut[0] == 1 and cut[1] == 2 and cut[5] == 0


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_selection_stays_in_bounds_where_training_has_blown_up(bad: float) -> None:
    pre = torch.randn(9, 200, generator=torch.Generator().manual_seed(0))
    calm = pre.clone()
    pre[3, ::3], pre[5] = bad, bad
    k = 40
    cut, wanted = torch.empty(9), torch.empty(9)
    kernels.cuts(pre.numpy(), k, cut.numpy())
    kernels.cuts(calm.numpy(), k, wanted.numpy())
    rest = torch.tensor([0, 1, 2, 4, 6, 7, 8])
    assert torch.equal(cut[rest], wanted[rest])
    if bad > 0:
        assert bool((cut[[3, 5]] == bad).all())
    else:
        left = calm[3].where(torch.arange(200) % 3 != 0, -1)
        assert int((left >= cut[3]).sum()) == k and cut[5] == 0
    chosen, largest = torch.full((9, k), -7), torch.zeros(9, k)
    kernels.largest(pre.numpy(), k, chosen.numpy(), largest.numpy())
    assert bool(((chosen >= 0) & (chosen < 200)).all())
    assert torch.equal(largest[rest], pre.gather(1, chosen)[rest])
    assert bool(largest[5].isnan().all()) == (bad != bad)
    counts = torch.zeros(9, dtype=torch.long)
    kernels.count_from(pre.numpy(), torch.zeros(200).numpy(), counts.numpy())
    assert torch.equal(counts, (pre >= 0).sum(1))
    n = int(counts.sum())
    units, values = torch.full((n + 1000,), -7), torch.zeros(n + 1000)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    kernels.fill_from(pre.numpy(), torch.zeros(200).numpy(), offsets.numpy(), units.numpy(), values.numpy())
    assert torch.equal(values[:n], pre[pre >= 0]) and bool((units[n:] == -7).all())
