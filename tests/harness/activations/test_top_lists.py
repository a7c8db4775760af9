"""Top lists against a stable sort of everything, by insertion and by selection."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.activations.top_lists import TopLists, stable_keys

#: Values that are equal, next to each other, extreme, subnormal, and zeros of both signs.
VALUES = (0.0, -0.0, 1.0, 1.0000001, -1.0, -1.0000001, 3e38, -3e38, torch.inf, -torch.inf, 1e-45, -1e-45, 1e-38, 7.5)


class BySelection(TopLists):
    """Lists as a GPU keeps them, on the CPU."""

    def _insert(self, peak: Tensor, token: Tensor, index: Tensor) -> None:
        self._merge(peak, token, index)


def bits(values: Tensor) -> list[list[int]]:
    """Return the bits of float32 values, which tell zeros of both signs apart."""
    return [list(row) for row in values.contiguous().view(torch.int32).tolist()]


@pytest.mark.parametrize("kind", [TopLists, BySelection])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_lists_are_those_of_a_stable_sort(kind: type[TopLists], data: st.DataObject) -> None:
    n, units = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    size = data.draw(st.integers(1, 14))
    column = st.lists(st.sampled_from(VALUES), min_size=n, max_size=n)
    peak = torch.tensor([data.draw(column) for _ in range(units)]).T
    token = torch.arange(n * units).reshape(n, units)
    index = torch.arange(n) * 3 + 1
    batch = data.draw(st.integers(1, n))
    lists = kind(units, size)
    for part in torch.split(torch.arange(n), batch):
        lists.update(peak[part], token[part], index[part])
    value, order = torch.sort(peak, dim=0, descending=True, stable=True)
    assert bits(lists.value) == bits(value[:size])
    assert torch.equal(lists.image, index[order[:size]])
    assert torch.equal(lists.token, token.gather(0, order)[:size])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(VALUES), st.floats(allow_nan=False, width=32)), min_size=1, max_size=40))
def test_keys_are_distinct_and_in_the_order_of_a_stable_sort(values: list[float]) -> None:
    row = torch.tensor([values])
    keys = stable_keys(row)
    assert len(keys.unique()) == len(values)
    assert torch.equal(keys.argsort(dim=1, descending=True), row.argsort(dim=1, descending=True, stable=True))


def test_units_without_a_larger_value_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of four units change in the second batch, and none in the third, although all values are tied there."""
    lists = BySelection(4, 2)
    rows: list[int] = []

    def counted(values: Tensor) -> Tensor:
        rows.append(len(values))
        return stable_keys(values)

    monkeypatch.setattr("harness.activations.top_lists.stable_keys", counted)
    token = torch.zeros(2, 4, dtype=torch.int64)
    lists.update(torch.tensor([[1.0, 1, 1, 1], [2, 2, 2, 2]]), token, torch.tensor([0, 1]))
    lists.update(torch.tensor([[1.0, 3, 0, 1.5], [0, 0, 1, 1]]), token, torch.tensor([2, 3]))
    lists.update(torch.tensor([[1.0, 2, 1, 1.5], [1, 2, 1, 1.5]]), token, torch.tensor([4, 5]))
    assert rows == [4, 2]
    assert lists.image.tolist() == [[1, 2, 1, 1], [0, 1, 0, 2]]


@pytest.mark.parametrize("kind", [TopLists, BySelection])
def test_lists_without_entries_and_without_units(kind: type[TopLists]) -> None:
    empty = kind(3, 0)
    empty.update(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.int64), torch.arange(2))
    assert empty.value.shape == (0, 3)
    nobody = kind(0, 5)
    nobody.update(torch.ones(2, 0), torch.zeros(2, 0, dtype=torch.int64), torch.arange(2))
    assert nobody.value.shape == (2, 0)
