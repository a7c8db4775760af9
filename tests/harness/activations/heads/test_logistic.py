"""Logistic regression on a device: scikit-learn's optimum, in chunks, for features of either precision."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from harness.activations.heads import logistic
from harness.activations.heads.logistic import LogisticFit, fit_logistic, moments
from harness.activations.heads.probe import fit_head
from harness.errors import UserError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def points(n: int = 600, d: int = 12, n_classes: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Overlapping classes, with correlated features of different scales far from zero."""
    generator = torch.Generator().manual_seed(n_classes)
    labels = torch.arange(n) % n_classes
    centres = torch.randn(n_classes, d, generator=generator)
    mixed = (centres[labels] + 1.5 * torch.randn(n, d, generator=generator)) @ torch.randn(d, d, generator=generator)
    return (mixed * torch.logspace(-2, 2, d) + 30).to(dtype), labels


def standardised(features: Tensor) -> tuple[np.ndarray, Tensor, Tensor]:
    rows = features.double()
    mean, scale = rows.mean(0), rows.std(0).clamp_min(1e-6)
    return ((rows - mean) / scale).numpy(), mean, scale


def optimum(features: Tensor, labels: Tensor) -> LogisticRegression:
    """Return scikit-learn's fit by another algorithm, Newton's, which ends at the optimum itself."""
    model = LogisticRegression(solver="newton-cholesky", tol=1e-12)
    return model.fit(standardised(features)[0], labels.numpy())


def fitted(features: Tensor, labels: Tensor, **options: Any) -> LogisticFit:
    _, mean, scale = standardised(features)
    return fit_logistic(features, labels, mean, scale, **{"device": "cpu", "tolerance": 1e-10, **options})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_scikit_learns_optimum(dtype: torch.dtype, n_classes: int, device: str) -> None:
    features, labels = points(n_classes=n_classes, dtype=dtype)
    fit, reference = fitted(features, labels, device=device), optimum(features, labels)
    assert fit.coefficients.shape == reference.coef_.shape and fit.intercepts.shape == reference.intercept_.shape
    np.testing.assert_allclose(fit.coefficients.numpy(), reference.coef_, rtol=0, atol=5e-6)
    np.testing.assert_allclose(fit.intercepts.numpy(), reference.intercept_, rtol=0, atol=5e-6)
    rows = standardised(features)[0]
    logits = rows @ fit.coefficients.numpy().T + fit.intercepts.numpy()
    np.testing.assert_allclose(logits.squeeze(), reference.decision_function(rows), rtol=0, atol=2e-5)
    assert (logits.squeeze() > 0 if n_classes == 2 else logits.argmax(1)).tolist() == reference.predict(rows).tolist()
    assert fit.gradient <= 1e-7


@pytest.mark.parametrize("n_classes", [2, 5])
def test_the_gradient_is_zero_by_definition(n_classes: int) -> None:
    """Of the sum of cross-entropies plus half the squared weights, written out with autograd."""
    features, labels = points(n_classes=n_classes)
    fit = fitted(features, labels)
    rows = torch.from_numpy(standardised(features)[0])
    weights, intercepts = fit.coefficients.requires_grad_(), fit.intercepts.requires_grad_()
    logits = rows @ weights.T + intercepts
    if n_classes == 2:
        logits = torch.cat([torch.zeros_like(logits), logits], 1)
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum") + 0.5 * weights.square().sum()
    loss.backward()
    assert weights.grad is not None and intercepts.grad is not None
    assert float(weights.grad.abs().max()) < 2e-5 and float(intercepts.grad.abs().max()) < 2e-5


def test_with_scikit_learns_tolerance_it_takes_the_same_steps() -> None:
    features, labels = points()
    reference = LogisticRegression(max_iter=2000).fit(standardised(features)[0], labels.numpy())
    fit = fitted(features, labels, tolerance=1e-4)
    assert fit.iterations == reference.n_iter_[0]
    np.testing.assert_allclose(fit.coefficients.numpy(), reference.coef_, rtol=0, atol=1e-8)


def test_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 7 rows: loss, gradient and moments are sums over the rows."""
    features, labels = points(n=200)
    whole, (mean, deviation) = fitted(features, labels), moments(features)
    monkeypatch.setattr(logistic, "CHUNK_ENTRIES", 7 * (12 + 5))
    parts, (mean_of_parts, deviation_of_parts) = fitted(features, labels), moments(features)
    torch.testing.assert_close(parts.coefficients, whole.coefficients, rtol=0, atol=1e-7)
    torch.testing.assert_close(mean_of_parts, mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(deviation_of_parts, deviation, rtol=1e-12, atol=0)
    rows = features.double()
    torch.testing.assert_close(mean, rows.mean(0), rtol=1e-13, atol=0)
    torch.testing.assert_close(deviation, rows.std(0), rtol=1e-12, atol=0)


def test_no_matrix_of_all_rows_and_classes_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = points(n=400, n_classes=40)
    monkeypatch.setattr(logistic, "CHUNK_ENTRIES", 10 * (12 + 40))
    sizes = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.dtype == torch.float64:
                sizes.append(result.numel())
            return result

    _, mean, scale = standardised(features)
    with Watch():
        fit_logistic(features, labels, mean, scale, device="cpu", tolerance=1e-2)
    # The largest are the parameters, 40 x 13, and a chunk's logits, 10 x 40.
    assert sizes and max(sizes) == 40 * 13


# ---- the probe of either solver

SOLVERS = {"scikit-learn": 10**10, "on the device": 0}


def heads(features: Tensor, labels: Tensor, n_classes: int, **options: Any) -> list[dict[str, Tensor]]:
    return [fit_head(features, labels, n_classes, sklearn_up_to=limit, **options) for limit in SOLVERS.values()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("present", [[0, 1, 2, 3, 4], [1, 3, 4], [2, 4]])
def test_both_solvers_give_one_probe(present: list[int], device: str) -> None:
    """Of all, some and two of seven classes. scikit-learn stops at a larger gradient, so its logits differ by that."""
    features, labels = points()
    rows = torch.isin(labels, torch.tensor(present))
    features, labels = features[rows], labels[rows]
    one, other = heads(features, labels, 7, device=device)
    logits = [features @ head["weight"].T + head["bias"] for head in (one, other)]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=0.05)
    assert (logits[0].argmax(1) == logits[1].argmax(1)).double().mean() > 0.995
    absent = sorted(set(range(7)) - set(present))
    for head in (one, other):
        assert head["weight"].dtype == head["bias"].dtype == torch.float32
        assert (head["weight"][absent] == 0).all() and (head["bias"][absent] == -1e4).all()


def test_features_that_do_not_vary_have_no_weight() -> None:
    features, labels = points()
    features[:, 3], features[:, 7] = 0.1, 0.0
    for head in heads(features, labels, 5):
        assert head["weight"].isfinite().all()
        torch.testing.assert_close(head["weight"][:, [3, 7]], torch.zeros(5, 2), atol=1e-6, rtol=0)
    one, other = heads(features, labels, 5)
    agree = (features @ one["weight"].T + one["bias"]).argmax(1) == (
        features @ other["weight"].T + other["bias"]
    ).argmax(1)
    assert agree.double().mean() > 0.995


def test_large_sets_are_fitted_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = points()
    used = []
    monkeypatch.setattr(
        "harness.activations.heads.probe.fit_logistic",
        lambda *arguments, **options: used.append(options["device"]) or fit_logistic(*arguments, **options),
    )
    size = features.numel() * 5
    fit_head(features, labels, 5, device="cpu", sklearn_up_to=size)
    assert used == []
    fit_head(features, labels, 5, device="cpu", sklearn_up_to=size - 1)
    assert used == ["cpu"]


@pytest.mark.parametrize("limit", SOLVERS.values(), ids=SOLVERS.keys())
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite_are_refused(value: float, limit: int) -> None:
    features, labels = points()
    features[17, 3] = value
    with pytest.raises(UserError, match="features contain NaN or infinity"):
        fit_head(features, labels, 5, sklearn_up_to=limit)


def test_an_end_without_convergence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = points()
    monkeypatch.setattr(logistic, "MOST_ITERATIONS", 3)
    with pytest.warns(RuntimeWarning, match="not converged after 3 iterations"):
        assert fitted(features, labels).iterations == 3


def test_progress_counts_the_iterations() -> None:
    features, labels = points()
    seen: list[int] = []
    fit = fitted(features, labels, progress=lambda done, total, what: seen.append(done))
    assert seen == list(itertools.islice(itertools.count(1), fit.iterations))


@pytest.mark.gpu
def test_features_that_do_not_fit_on_the_gpu_are_copied_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = points()
    there = fitted(features, labels, device="cuda")
    monkeypatch.setattr(logistic, "free_memory", lambda _: 0)
    in_chunks = fitted(features, labels, device="cuda")
    torch.testing.assert_close(in_chunks.coefficients, there.coefficients, rtol=0, atol=1e-7)
