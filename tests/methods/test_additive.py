"""Rounded shares: exact sums, and exact zeros where there is no share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import small_layer
from torch import Tensor

import methods
from methods.additive import remainder_last

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def equal_shares(count: int, width: int, seed: int) -> Tensor:
    """Return (count, width) float64: each column is shared equally by a random set of rows, never the empty one."""
    generator = torch.Generator().manual_seed(seed)
    member = torch.rand(count, width, generator=generator) < torch.rand(width, generator=generator)
    member[torch.randint(count, (width,), generator=generator), torch.arange(width)] = True
    return member.double() / member.sum(0)


def in_order(rows: Tensor) -> Tensor:
    """Return the sum of rows (K, ...), added in order in float32 or wider and rounded once."""
    total = torch.zeros_like(rows[0], dtype=torch.promote_types(rows.dtype, torch.float32))
    for row in rows:
        total = total + row
    return total.to(rows.dtype)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(DTYPES), st.integers(2, 40), st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 300.0]))
def test_sums_are_exact_and_weights_without_a_share_are_zero(
    dtype: torch.dtype, count: int, seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(17, generator=generator)
    weight = (scale * (drawn + 0.05 * drawn.sign())).to(dtype)  # far from the numbers that float16 flushes to zero
    weight[0] = 0
    bias = torch.randn((), generator=generator).to(dtype)
    shares = equal_shares(count, 17, seed)
    weights, biases = remainder_last(weight, bias, shares * weight.double(), shares.mean(1) * bias.double())
    assert weights.dtype == dtype and biases.dtype == dtype
    assert torch.equal(in_order(weights), weight)
    assert torch.equal(weights != 0, (shares != 0) & (weight != 0))
    # The rest differs from its share by the rounding errors of the others, all within half a unit of the whole.
    error = (weights.double() - shares * weight.double()).abs()
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    assert bool((error <= count * (torch.finfo(dtype).eps * weight.double().abs() + smallest)).all())
    assert torch.equal(biases != 0, shares.mean(1) != 0)
    assert abs(float(in_order(biases)) - float(bias)) <= 2 * torch.finfo(dtype).eps * abs(float(bias))


@pytest.mark.parametrize("dtype", DTYPES)
def test_thirds_leave_no_rounding_error_in_a_fourth_sub_unit(dtype: torch.dtype) -> None:
    """Three rounded thirds do not sum to 1.0 in every precision; what is left belongs to the third of them."""
    shares = torch.tensor([[1 / 3, 1 / 3, 1 / 2], [1 / 3, 1 / 3, 0], [1 / 3, 1 / 3, 1 / 2], [0, 0, 0]]).double()
    weight, bias = torch.tensor([0.7, -1.1, 0.3], dtype=dtype), torch.tensor(-0.9, dtype=dtype)
    weights, biases = remainder_last(weight, bias, shares * weight.double(), shares.mean(1) * bias.double())
    assert weights[3].tolist() == [0, 0, 0] and float(biases[3]) == 0 and float(weights[1, 2]) == 0
    assert torch.equal(in_order(weights), weight)


def test_a_neuron_with_one_sub_unit_is_a_copy() -> None:
    weight, bias = torch.randn(4, generator=torch.Generator().manual_seed(0)), torch.tensor(0.3)
    weights, biases = remainder_last(weight, bias, torch.zeros(1, 4), torch.zeros(1))
    assert torch.equal(weights, weight[None]) and torch.equal(biases, bias[None])
    weights[0] = 0
    assert bool((weight != 0).all()), "not a view of the layer"


def test_a_neuron_of_zeros_stays_zero() -> None:
    weights, biases = remainder_last(torch.zeros(3), torch.tensor(0.0), torch.zeros(2, 3), torch.zeros(2))
    assert not weights.any() and not biases.any()


def test_sub_units_of_elude_are_zero_where_they_have_no_share() -> None:
    """In every neuron, rows that a rounding error would keep alive: |weight| far below any share of the original."""
    site, tokens = small_layer(n=600, d_in=64, d_out=24)
    method = methods.create("elude", top_k=300, min_cluster_size=5).fit(tokens, site)
    assert method.spec.version == 2
    counts = torch.bincount(method.parent)
    assert int(counts.max()) >= 4
    for unit in range(site.d_out):
        own = method.weights[method.parent == unit]
        assert torch.equal(in_order(own), site.weight[unit])
        least = site.weight[unit].abs() / (2 * int(counts[unit]))
        assert bool(((own == 0) | (own.abs() >= least)).all())
