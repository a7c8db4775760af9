"""Half precision on layers whose mean is many times their spread: R2 is that of float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_memory import MemorySite, MemoryTokens
from torch import Tensor

import methods
from methods.base import Method
from methods.half_precision import in_float32

SMALL: dict[str, dict[str, Any]] = {
    "vanilla_sae": {"expansion_factor": 2, "epochs": 4, "batch_size": 64},
    "topk_sae": {"expansion_factor": 2, "k": 4, "epochs": 4, "batch_size": 64},
    "jumprelu_sae": {"expansion_factor": 2, "epochs": 4, "batch_size": 64},
    "batchtopk_sae": {"expansion_factor": 2, "k": 4, "epochs": 4, "batch_size": 64},
    "matryoshka_sae": {"expansion_factor": 2, "k": 4, "epochs": 4, "batch_size": 64},
    "archetypal_sae": {"expansion_factor": 2, "k": 4, "epochs": 4, "batch_size": 64},
    "matching_pursuit_sae": {"expansion_factor": 2, "k": 4, "epochs": 2, "batch_size": 64},
    "frozen_decoder_sae": {"expansion_factor": 2, "k": 4, "epochs": 4, "batch_size": 64},
    "skip_transcoder": {"expansion_factor": 2, "k": 4, "epochs": 4, "batch_size": 64},
    "transcoder": {"expansion_factor": 2, "epochs": 4, "batch_size": 64},
    "pca": {"n_components": 5},
    "ica": {"n_components": 5},
    "nmf": {"n_components": 12, "iterations": 20},
    "kmeans": {"expansion_factor": 1},
    "random_dictionary": {"expansion_factor": 2, "k": 4},
}
# The mean is a thousand times the spread, or 120 times: units in the last place are half the spread. The rounding of x
# is part of both results, and that of the output is left out if codes are decoded in float32.
FORMATS = [(torch.float16, 1000.0), (torch.bfloat16, 120.0)]


def layer(mean: float, dtype: torch.dtype, *, features: int | None = None) -> tuple[MemorySite, MemoryTokens]:
    """Layer of 512 tokens whose input and output have a spread of about 1, and ``features`` (or all) a large mean."""
    generator = torch.Generator().manual_seed(0)
    strengths = torch.rand(512, 6, generator=generator) * (torch.rand(512, 6, generator=generator) < 0.4)
    q, a = (strengths @ (2 * torch.randn(6, width, generator=generator)) for width in (32, 48))
    for rows in (q, a):
        rows[:, :features] += mean * (torch.rand(rows.shape[1], generator=generator) - 0.5).sign()[:features]
    tokens = MemoryTokens(q.to(dtype).float(), a.to(dtype).float())
    tokens.image = torch.arange(512).numpy() // 8
    return MemorySite(torch.randn(48, 32, generator=generator) / 6, torch.zeros(48)), tokens


def r2(method: Method, x: Tensor, a: Tensor, *, decode_in: torch.dtype | None = None) -> float:
    """Return R2 of the reconstruction from codes of x, decoded in another type if one is given."""
    codes = method.encode(x)
    a_hat = method.reconstruct(codes.to(decode_in or x.dtype), x)
    assert codes.dtype == x.dtype and a_hat.dtype == (decode_in or x.dtype)
    return 1 - float((a - a_hat.float()).square().sum() / (a - a.mean(0)).square().sum())


@pytest.mark.parametrize(("dtype", "mean"), FORMATS, ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", SMALL)
def test_r2_is_that_of_float32(name: str, dtype: torch.dtype, mean: float) -> None:
    site, tokens = layer(mean, dtype)
    method = methods.create(name, **SMALL[name]).fit(tokens, site, seed=1)
    x, a = tokens.fields[method.spec.reads], tokens.fields["output"]
    full = r2(method, x, a)
    assert r2(method, x.to(dtype), a, decode_in=torch.float32) == pytest.approx(full, abs=0.005)


@pytest.mark.parametrize(("dtype", "mean"), FORMATS, ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["topk_sae", "transcoder", "pca", "matching_pursuit_sae"])
def test_two_features_of_large_mean_spoil_no_other(name: str, dtype: torch.dtype, mean: float) -> None:
    """Massive activations, as in some layers of a ViT; here the output is in half precision too."""
    site, tokens = layer(mean, dtype, features=2)
    method = methods.create(name, **SMALL[name]).fit(tokens, site, seed=1)
    x, a = tokens.fields[method.spec.reads], tokens.fields["output"]
    assert r2(method, x.to(dtype), a) == pytest.approx(r2(method, x, a), abs=0.005)


@pytest.mark.parametrize("name", ["topk_sae", "pca", "matching_pursuit_sae", "jumprelu_sae"])
def test_a_dictionary_in_its_general_form_keeps_r2_too(name: str) -> None:
    site, tokens = layer(1000.0, torch.float16)
    made = methods.create(name, **SMALL[name]).fit(tokens, site, seed=1).as_trained_dictionary()
    a = tokens.fields["output"]
    assert r2(made, a.half(), a, decode_in=torch.float32) == pytest.approx(r2(made, a, a), abs=0.005)


def test_other_types_are_left_alone_and_autocast_changes_nothing() -> None:
    class Sum:
        @in_float32
        def encode(self, x: Tensor, other: Tensor | None = None) -> Tensor:
            """Return a product."""
            assert other is None or other.dtype == x.dtype
            return x @ x.T

    x = torch.rand(4, 7, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(Sum().encode(x.to(dtype)), x.to(dtype) @ x.to(dtype).T)
    half = x.half()
    expected = (half.float() @ half.float().T).half()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Sum().encode(half, other=half), expected)
        assert torch.equal(Sum().encode(half, half), expected)
    assert Sum.encode.__doc__ == "Return a product."
