"""Counts of the evaluation pass over units, tokens and images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sorted_statistics import SortedStatistics
from torch import Tensor

from harness.activations.unit_statistics import UnitStatistics
from harness.metrics.base import Batch, Outcome
from harness.metrics.l0 import L0

TOP = ("top_value", "top_image", "top_token")
STATE = (*TOP, "maximum", "minimum", "fires", "active", "l0_sums")


def require_same(found: UnitStatistics, twin: SortedStatistics) -> None:
    """Check all that is read, to the bit: the scores depend on the strides of a tensor as well."""
    for name in STATE:
        value, expected = getattr(found, name), getattr(twin, name)
        assert value.dtype == expected.dtype and torch.equal(value, expected), name
        assert value.stride() == expected.contiguous().stride(), name
    assert torch.equal(found.top_value.view(torch.int32), twin.top_value.contiguous().view(torch.int32))
    assert torch.equal(found._octaves, twin.octaves)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_statistics_are_those_of_a_full_sort(dtype: torch.dtype, data: st.DataObject) -> None:
    """Ties, zeros of both signs, negative and constant units, fewer images than places; float32 has a kernel."""
    n, tokens, units = (data.draw(st.integers(1, most)) for most in (11, 5, 5))
    seed = data.draw(st.integers(0, 10**6))
    generator = torch.Generator().manual_seed(seed)
    levels = torch.tensor(data.draw(st.sampled_from([(0.0, -0.0, 1.0, 2.0), (-2.0, -1.0), (0.5,), (-0.0, 0.0)])))
    codes = levels[torch.randint(len(levels), (n, tokens, units), generator=generator)].to(dtype)
    if data.draw(st.booleans()):
        codes = codes * torch.randn(n, tokens, units, generator=generator).to(dtype)
    index = torch.randperm(50, generator=generator)[:n].sort().values
    top, batch = data.draw(st.integers(1, 13)), data.draw(st.integers(1, n))
    found, twin = UnitStatistics(units, top), SortedStatistics(units, top)
    for part in torch.split(torch.arange(n), batch):
        peaks, (value, token) = found.update(codes[part], index[part]), twin.update(codes[part], index[part])
        assert peaks.value.dtype == dtype and torch.equal(peaks.value, value) and torch.equal(peaks.token, token)
        require_same(found, twin)


@pytest.mark.parametrize("units", [1, 255, 256, 257, 2049, 5000])
def test_blocks_of_the_kernel_cover_all_units(units: int) -> None:
    """Also for codes that are a view with other strides."""
    codes = torch.randn(units, 6, 3, generator=torch.Generator().manual_seed(units)).relu().permute(1, 2, 0)
    found, twin = UnitStatistics(units, 4), SortedStatistics(units, 4)
    for part in torch.split(torch.arange(6), 4):
        found.update(codes[part], part)
        twin.update(codes[part], part)
    require_same(found, twin)


def test_threads_do_not_change_the_statistics() -> None:
    codes = torch.randn(9, 4, 3000, generator=torch.Generator().manual_seed(0)).relu()
    threads, statistics_by_threads = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            statistics_by_threads.append(UnitStatistics(3000, 5))
            statistics_by_threads[-1].update(codes, torch.arange(9))
    finally:
        torch.set_num_threads(threads)
    assert all(
        torch.equal(getattr(statistics_by_threads[0], name), getattr(statistics_by_threads[1], name)) for name in STATE
    )


def test_statistics_are_read_in_the_middle_of_a_pass() -> None:
    """A tensor that was read is not changed by later updates; reading again gives the new state."""
    units = UnitStatistics(2, 3)
    units.update(torch.ones(1, 2, 2), torch.tensor([0]))
    before: dict[str, Tensor] = {name: getattr(units, name) for name in STATE}
    assert all(getattr(units, name) is tensor for name, tensor in before.items())
    copies = {name: tensor.clone() for name, tensor in before.items()}
    units.update(-2 * torch.ones(2, 2, 2), torch.tensor([1, 2]))
    assert all(torch.equal(before[name], copies[name]) for name in STATE)
    assert (units.top_image[:, 0].tolist(), units.minimum.tolist()) == ([0, 1, 2], [-2, -2])


def test_a_method_without_units() -> None:
    units = UnitStatistics(0, 3)
    units.update(torch.ones(2, 4, 0), torch.arange(2))
    assert units.top_image.shape == (2, 0) and units.l0_sums.tolist() == [0, 0]


def test_tokens_and_images_are_counted_over_batches() -> None:
    found = UnitStatistics(4, 2)
    found.update(torch.ones(2, 3, 4), torch.tensor([0, 1]))
    assert (found.n_tokens, found.n_images, found.n_units) == (6, 2, 4)
    found.update(torch.ones(1, 3, 4), torch.tensor([5]))
    assert (found.n_tokens, found.n_images) == (9, 3)


def test_the_peaks_of_a_batch_are_those_of_the_table_of_units() -> None:
    codes = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [3.0, -1.0]], [[5.0, 2.0], [4.0, 2.0], [0.0, 2.0]]])
    units = UnitStatistics(2, 2)
    peaks = units.update(codes, torch.tensor([3, 7]))
    assert peaks.value.tolist() == [[3, 0], [5, 2]]
    order = torch.argsort(units.top_image, dim=0)
    assert torch.equal(peaks.token, units.top_token.gather(0, order))
    assert torch.equal(peaks.value, units.top_value.gather(0, order))


def test_l0_is_a_mean_over_all_tokens() -> None:
    """Image 0 has 1, 2 and 3 active units on its three tokens, image 1 has 0, 0 and 3."""
    codes = torch.zeros(2, 3, 4)
    for image, token, active in ((0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 2, 3)):
        codes[image, token, :active] = -1.0 if active == 1 else 2.0
    baseline: Any = SimpleNamespace()
    units, metric, nothing = UnitStatistics(4, 2), L0(baseline), torch.zeros(2)
    peaks = units.update(codes, torch.tensor([0, 1]))
    metric.update(Batch(nothing, nothing, nothing, nothing, codes, nothing, nothing, *peaks))
    method: Any = SimpleNamespace(parents=None)
    (score,) = metric.compute(Outcome(method, units, baseline, 1))
    assert (score.value, score.n) == (9 / 6, 6)
    # Means 2 and 1 of the two images: s = 1 / sqrt(2), s / sqrt(2).
    assert score.uncertainty == pytest.approx(0.5)


def test_the_histogram_counts_images_in_half_octaves_below_the_largest_activation() -> None:
    units = UnitStatistics(2, 1)
    # Maxima 8, 8, 4, 1 of unit 0: two half octaves per factor of two. Unit 1 is positive on one image.
    for index, maxima in enumerate([(8.0, 0.0), (1.0, -1.0), (4.0, 1e-30), (8.0, 0.0)]):
        units.update(torch.tensor(maxima).expand(1, 3, 2), torch.tensor([index]))
    assert units.peak_histogram(8).tolist() == [[2, 0, 1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
    assert UnitStatistics(2, 1).peak_histogram(3).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_histogram_does_not_depend_on_the_batches() -> None:
    peaks = torch.randn(20, 1, 5, generator=torch.Generator().manual_seed(1)).exp()
    together, apart = UnitStatistics(5, 2), UnitStatistics(5, 2)
    together.update(peaks, torch.arange(20))
    for start in range(0, 20, 7):
        apart.update(peaks[start : start + 7], torch.arange(start, min(start + 7, 20)))
    assert (together.peak_histogram() == apart.peak_histogram()).all()
