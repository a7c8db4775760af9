"""Fréchet distance: closed forms, scipy's matrix root, singular covariances, and the streamed metric."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness import metrics
from harness.errors import ArgumentError
from harness.metrics import fvu
from harness.metrics.base import Batch, Outcome, Score
from harness.metrics.frechet_distance import (
    WIDEST_JACKKNIFE,
    FrechetDistance,
    Moments,
    frechet_distance,
    trace_of_root,
)
from harness.stats import jackknife_standard_error

BASELINE: Any = SimpleNamespace()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(a: Tensor, a_hat: Tensor) -> float:
    """The distance with the matrix root of scipy."""
    mean, mean_hat = a.mean(0).numpy(), a_hat.mean(0).numpy()
    s, s_hat = (np.atleast_2d(np.cov(x.numpy().T, bias=True)) for x in (a, a_hat))
    root = np.real(scipy.linalg.sqrtm(s @ s_hat))
    return float(((mean - mean_hat) ** 2).sum() + np.trace(s + s_hat - 2 * root))


def rotation(d: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(drawn(d, d, seed=seed)).Q


def with_moments(n: int, covariance: Tensor, mean: Tensor, seed: int = 0) -> Tensor:
    """Rows (n, d) that have exactly this mean and covariance."""
    rows = drawn(n, len(mean), seed=seed)
    rows = rows - rows.mean(0)
    white = rows @ torch.linalg.inv(torch.linalg.cholesky(rows.T @ rows / n)).T
    return white @ torch.linalg.cholesky(covariance).T + mean


class TestFunction:
    def test_gaussians_of_commuting_covariances_have_a_closed_form(self) -> None:
        """``|mu - mu'|^2 + sum_i (s_i - s'_i)^2`` for standard deviations along the same axes."""
        axes, s, s_hat = rotation(4), torch.tensor([3.0, 1, 0.5, 2]).double(), torch.tensor([1.0, 1, 2, 0.1]).double()
        mean = torch.tensor([1.0, -2, 0, 0]).double()
        a = with_moments(50, axes @ (s**2).diag() @ axes.T, mean)
        a_hat = with_moments(70, axes @ (s_hat**2).diag() @ axes.T, torch.zeros(4).double(), seed=1)
        expected = 5 + float(((s - s_hat) ** 2).sum())
        assert frechet_distance(a, a_hat, relative=False) == pytest.approx(expected)
        assert frechet_distance(a, a_hat) == pytest.approx(expected / float((s**2).sum()))

    def test_of_one_dimension(self) -> None:
        a, a_hat = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [11.0], [5.0], [11.0]])
        assert frechet_distance(a, a_hat, relative=False) == pytest.approx(7**2 + (3 - 1) ** 2)

    def test_known_reconstructions(self) -> None:
        a = drawn(300, 5) @ drawn(5, 5, seed=1) + 10
        mean = a.mean(0)
        assert frechet_distance(a, a) == 0
        assert frechet_distance(a, mean.expand_as(a)) == pytest.approx(1)
        assert frechet_distance(a, mean + 0.3 * (a - mean)) == pytest.approx(0.7**2)
        # It compares two moments, so neither a reflection about the mean nor an exchange of tokens is seen.
        assert frechet_distance(a, 2 * mean - a) == 0
        assert frechet_distance(a, a[drawn(300).argsort()]) == 0
        shift = torch.tensor([3.0, 0, 0, 0, 4]).double()
        assert frechet_distance(a, a + shift, relative=False) == pytest.approx(25)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 10**6))
    def test_equals_scipys_matrix_root(self, n: int, d: int, seed: int) -> None:
        a, a_hat = drawn(n + d, d, seed=seed) * 3 + 1, drawn(n + d, d, seed=seed + 1) @ drawn(d, d, seed=seed + 2)
        assert frechet_distance(a, a_hat, relative=False) == pytest.approx(by_definition(a, a_hat), rel=1e-6, abs=1e-9)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(2, 30), st.integers(1, 8), st.integers(0, 10**6))
    def test_properties(self, n: int, d: int, seed: int) -> None:
        """Symmetric, unchanged by rotations, and at most the mean squared error: also for fewer rows than features."""
        a, a_hat = drawn(n, d, seed=seed) + 2, drawn(n, d, seed=seed + 1)
        value = frechet_distance(a, a_hat, relative=False)
        assert value >= 0
        assert frechet_distance(a_hat, a, relative=False) == pytest.approx(value, rel=1e-7, abs=1e-9)
        turned = rotation(d, seed)
        assert frechet_distance(a @ turned, a_hat @ turned, relative=False) == pytest.approx(value, rel=1e-7, abs=1e-9)
        assert value <= float(((a - a_hat) ** 2).sum(1).mean()) * (1 + 1e-9)
        assert frechet_distance(a, a_hat) <= fvu(a, a_hat) * (1 + 1e-9)
        assert frechet_distance(7 * a, 7 * a_hat) == pytest.approx(frechet_distance(a, a_hat), rel=1e-7, abs=1e-12)

    def test_fewer_rows_than_features(self) -> None:
        """Rows on orthogonal axes: no covariance in common, so the distance is the sum of both variances."""
        a, a_hat = torch.zeros(4, 40).double(), torch.zeros(6, 40).double()
        a[:, :3], a_hat[:, 10:14] = drawn(4, 3), drawn(6, 4, seed=1)
        variances = sum(float(x.var(0, correction=0).sum()) for x in (a, a_hat))
        means = float(((a.mean(0) - a_hat.mean(0)) ** 2).sum())
        turned = rotation(40)
        value = frechet_distance(a @ turned, a_hat @ turned, relative=False)
        assert value == pytest.approx(means + variances, rel=1e-12)
        assert frechet_distance(a @ turned, a @ turned) == 0

    def test_a_singular_product_has_no_error_of_a_square_root(self) -> None:
        """Eigenvalues of the product that are 0 up to 1e-16 would add 1e-8 each: here 200 of them."""
        half = drawn(256, 56) / 16
        s = half @ half.T
        assert trace_of_root(s, s) == pytest.approx(float(s.trace()), rel=1e-13)

    def test_undefined_cases(self) -> None:
        a = drawn(5, 3)
        assert math.isnan(frechet_distance(a[:0], a)) and math.isnan(frechet_distance(a, a[:0]))
        constant = torch.full((4, 3), 0.1, dtype=torch.float64)
        assert math.isnan(frechet_distance(constant, a))
        assert frechet_distance(constant, constant + 2, relative=False) == pytest.approx(12)
        assert frechet_distance(a[:1], a[1:2], relative=False) == pytest.approx(float(((a[0] - a[1]) ** 2).sum()))

    def test_wrong_inputs_are_one_sentence(self) -> None:
        a = drawn(5, 3)
        with pytest.raises(ArgumentError, match=r"a \(5, 3\) and a_hat \(5, 2\) must have the shapes"):
            frechet_distance(a, a[:, :2])
        with pytest.raises(ArgumentError, match=r"must have the shapes \(n, d\) and \(m, d\)"):
            frechet_distance(a[0], a[0])
        for value in (math.nan, math.inf):
            wrong = a.clone()
            wrong[2, 1] = value
            with pytest.raises(ArgumentError, match=r"frechet_distance: a_hat\[2, 1\] is"):
                frechet_distance(a, wrong)
        with pytest.raises(ArgumentError, match="exceed the range of float64"):
            frechet_distance(1e200 * a, a)

    def test_is_public(self) -> None:
        assert metrics.frechet_distance is frechet_distance and "frechet_distance" in metrics.__all__


class TestMoments:
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 10**6))
    def test_streamed_moments_are_those_of_all_rows(self, sizes: list[int], seed: int) -> None:
        rows = drawn(sum(sizes), 3, seed=seed) + 1e6
        moments = Moments()
        for part in torch.split(rows, sizes):
            moments.update(part)
        assert moments.count == len(rows)
        if len(rows):
            expected = np.cov(rows.numpy().T - 1e6, bias=True) if len(rows) > 1 else np.zeros((3, 3))
            np.testing.assert_allclose(moments.covariance(), expected, atol=1e-8)
            np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12)


def measure(a: Tensor, a_hat: Tensor, batch: int = 7) -> dict[str, Score]:
    """Scores of the metric over images a (n, T, d)."""
    metric, empty = FrechetDistance(BASELINE), torch.zeros(0)
    for index in torch.split(torch.arange(len(a)), batch):
        metric.update(Batch(index, index, a[index], a_hat[index], *[empty] * 5))
    nothing: Any = SimpleNamespace()
    outcome = Outcome(nothing, nothing, BASELINE, a.shape[-1])
    return {score.metric: score for score in metric.compute(outcome)}


class TestMetric:
    def test_is_the_function_over_all_tokens(self) -> None:
        a = drawn(23, 4, 6)
        a_hat = 0.8 * a + 0.1 * drawn(23, 4, 6, seed=1)
        scores = measure(a, a_hat)
        rows, predicted = a.flatten(0, 1), a_hat.flatten(0, 1)
        score = scores["frechet_distance"]
        assert score.value == pytest.approx(frechet_distance(rows, predicted))
        assert (score.n, score.direction, score.unit) == (92, "lower", "")
        absolute = scores["frechet_distance_absolute"]
        assert absolute.value == pytest.approx(by_definition(rows, predicted))
        assert absolute.details == {"variance": pytest.approx(float(rows.var(0, correction=0).sum()))}
        of_means = float(((rows.mean(0) - predicted.mean(0)) ** 2).sum()) / absolute.value
        assert score.details is not None and score.details["of_means"] == pytest.approx(of_means)

    def test_the_batch_size_does_not_matter(self) -> None:
        a = drawn(23, 4, 6).float()
        a_hat = 0.8 * a
        values = [{name: score[:4] for name, score in measure(a, a_hat, batch).items()} for batch in (1, 5, 23)]
        for other in values[1:]:
            for name, (_, value, n, error) in values[0].items():
                assert other[name][1:3] == (pytest.approx(value, rel=1e-9), n)
                assert other[name][3] == (None if error is None else pytest.approx(error, rel=1e-6))

    def test_the_error_is_a_jackknife_over_the_groups_of_r2(self) -> None:
        a, a_hat = drawn(31, 3, 4), drawn(31, 3, 4, seed=1)
        score = measure(a, a_hat)["frechet_distance"]
        group = torch.arange(31) % 10
        expected = [frechet_distance(*(x[group != one].flatten(0, 1) for x in (a, a_hat))) for one in range(10)]
        assert score.details is not None and score.details["without_group"] == pytest.approx(expected)
        assert score.uncertainty == pytest.approx(jackknife_standard_error(expected))
        assert score.uncertainty_kind == "jackknife over groups of images"

    def test_the_error_is_the_spread_of_samples_of_images(self) -> None:
        """400 images with a common vector each, drawn 60 times."""
        values, errors = [], []
        for seed in range(60):
            a = drawn(400, 2, 3, seed=seed) + drawn(400, 1, 3, seed=1000 + seed)
            score = measure(a, 0.6 * a + 0.2, batch=400)["frechet_distance"]
            values.append(score.value)
            errors.append(score.uncertainty)
        assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)

    def test_lossless_up_to_rounding_is_zero(self) -> None:
        a = drawn(20, 5, 8).float()
        for a_hat in (a, a.double().mul(3).div(3).float()):
            score = measure(a, a_hat)["frechet_distance"]
            assert (score.value, score.uncertainty) == (0, 0)
        assert measure(a, a + 1e-7 * drawn(20, 5, 8, seed=2))["frechet_distance"].value < 1e-13

    def test_the_floor_is_the_distance_of_even_and_odd_images(self) -> None:
        a = drawn(15, 4, 3)
        scores = measure(a, 0.5 * a)
        floor = by_definition(a[::2].flatten(0, 1), a[1::2].flatten(0, 1))
        variance = float(a.flatten(0, 1).var(0, correction=0).sum())
        assert scores["frechet_distance_floor"].value == pytest.approx(floor / variance)
        assert scores["frechet_distance_floor"].direction == "none"
        # It does not depend on the method.
        assert measure(a, a)["frechet_distance_floor"].value == pytest.approx(floor / variance)

    def test_noise_that_restores_the_variance_is_not_seen_but_costs_fvu(self) -> None:
        """Planted: half of the axes are lost. Refilled with noise, the distribution is right and the tokens wrong."""
        a = drawn(200, 10, 6)
        lost = a.clone()
        lost[..., 3:] = 0
        refilled = a.clone()
        refilled[..., 3:] = drawn(200, 10, 3, seed=1)
        distances = [measure(a, x)["frechet_distance"].value for x in (lost, refilled)]
        assert distances[0] == pytest.approx(0.5, abs=0.02) and distances[1] < 0.01
        assert fvu(a.flatten(0, 1), refilled.flatten(0, 1)) == pytest.approx(1, abs=0.05)

    def test_a_wide_layer_keeps_two_groups_and_has_no_error(self) -> None:
        a = torch.zeros(4, 1, WIDEST_JACKKNIFE + 1)
        a[:, 0, :3] = drawn(4, 3).float()
        metric, empty = FrechetDistance(BASELINE), torch.zeros(0)
        index = torch.arange(4)
        metric.update(Batch(index, index, a, 0.5 * a, *[empty] * 5))
        assert len(metric.a) == len(metric.a_hat) == 2
        scores = measure(a, 0.5 * a)
        score = scores["frechet_distance"]
        assert score.value == pytest.approx(frechet_distance(a[:, 0], 0.5 * a[:, 0]))
        assert score.uncertainty is None and score.details is not None and "without_group" not in score.details
        assert scores["frechet_distance_floor"].value > 0

    def test_one_image_and_a_constant_layer(self) -> None:
        a = drawn(1, 6, 3)
        scores = measure(a, 0.5 * a)
        assert scores["frechet_distance"].value == pytest.approx(frechet_distance(a[0], 0.5 * a[0]))
        assert scores["frechet_distance"].uncertainty is None
        assert math.isnan(scores["frechet_distance_floor"].value)
        constant = torch.ones(12, 2, 3)
        assert math.isnan(measure(constant, 2 * constant)["frechet_distance"].value)
        assert measure(constant, 2 * constant)["frechet_distance_absolute"].value == pytest.approx(3)

    def test_virtual_methods_are_left_out_and_it_is_opt_in(self) -> None:
        for virtual in (True, False):
            method: Any = SimpleNamespace(spec=SimpleNamespace(virtual=virtual))
            assert FrechetDistance.applies(method, BASELINE) is not virtual
        assert not FrechetDistance.default and not FrechetDistance.needs_network
