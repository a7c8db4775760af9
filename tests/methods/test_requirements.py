"""Invalid input is refused by every method, and tokens with little variation give finite codes or one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from in_memory import MemorySite, MemoryTokens, small_layer
from torch import Tensor
from variants import built_in, variants

import methods
from methods.base import Learner, MethodSpec
from methods.pure import PURE
from methods.requirements import is_finite

Layer = tuple[MemorySite, MemoryTokens]


@pytest.fixture(scope="module")
def layer() -> Layer:
    return small_layer()


def poked(x: Tensor, value: float, row: int = 7, column: int = 2) -> Tensor:
    x = x.clone()
    x[row, column] = value
    return x


def small(name: str) -> methods.registry.Any:
    return methods.create(name, **variants(name)[0].config)


@pytest.mark.parametrize("name", built_in())
@pytest.mark.parametrize("field", ["input", "output"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_among_the_tokens_are_refused(layer: Layer, name: str, field: str, value: float) -> None:
    site, tokens = layer
    fields = {**tokens.fields, field: poked(tokens.fields[field], value)}
    sentence = rf"{name}: the layer's {field} contains NaN or infinity in at least one probing token .* row 7 of 240"
    with pytest.raises(methods.UserError, match=sentence):
        small(name).fit(MemoryTokens(fields["input"], fields["output"]), site)


@pytest.mark.parametrize("name", built_in())
def test_no_tokens_and_other_layers_are_refused(layer: Layer, name: str) -> None:
    site, tokens = layer
    q, a = tokens.fields["input"], tokens.fields["output"]
    with pytest.raises(methods.UserError, match="no probing tokens"):
        small(name).fit(MemoryTokens(q[:0], a[:0]), site)
    with pytest.raises(methods.UserError, match="5 features of the layer's output, and the layer has 6"):
        small(name).fit(MemoryTokens(q, a[:, :5]), site)
    with pytest.raises(methods.UserError, match="weight contains NaN"):
        small(name).fit(tokens, MemorySite(poked(site.weight, float("nan"), 1), site.bias))
    with pytest.raises(methods.UserError, match="bias contains NaN"):
        small(name).fit(tokens, MemorySite(site.weight, site.bias * float("inf")))


def degenerate(q: Tensor, a: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Finite tokens with little in them, as (input, output)."""
    flat, huge = a.clone(), a.clone()
    flat[:, 2] = 1.5
    huge[:, 2] *= 1e8
    offset = torch.full_like(a[:1], 1e3)
    return {
        "constant": (q[:1].repeat(240, 1), a[:1].repeat(240, 1)),
        "constant, far from 0": (q[:1].repeat(240, 1), (a[:1] + offset).repeat(240, 1)),
        "zeros": (q * 0, a * 0),
        "one": (q[:1], a[:1]),
        "two": (q[:2], a[:2]),
        "fewer than units": (q[:5], a[:5]),
        "duplicates": (q[:3].repeat(80, 1), a[:3].repeat(80, 1)),
        "one constant feature": (q, flat),
        "one huge feature": (q, huge),
        "huge": (q * 1e30, a * 1e30),
        "tiny": (q * 1e-30, a * 1e-30),
    }


@pytest.mark.parametrize("name", built_in())
def test_degenerate_tokens_give_finite_codes_or_one_sentence(layer: Layer, name: str) -> None:
    site, tokens = layer
    q, a = tokens.fields["input"], tokens.fields["output"]
    for what, fields in degenerate(q, a).items():
        try:
            method = small(name).fit(MemoryTokens(*fields), site, seed=1)
        except methods.UserError as error:
            assert str(error).endswith(".") and "\n" not in str(error), what
            continue
        x = tokens.fields[method.spec.reads]
        codes = method.encode(x)
        assert bool(codes.isfinite().all()), what
        assert bool(method.reconstruct(codes, x).isfinite().all()), what


def test_ica_finds_nothing_in_tokens_that_are_the_same() -> None:
    """Whitening divided by the rounding errors of the mean: the codes were NaN."""
    generator = torch.Generator().manual_seed(0)
    a = (torch.randn(1, 12, generator=generator) * 30).repeat(1000, 1)
    site = MemorySite(torch.randn(12, 12, generator=generator), torch.zeros(12))
    with pytest.raises(methods.UserError, match="All 1000 probing tokens are the same"):
        methods.create("ica").fit(MemoryTokens(a, a), site)


@pytest.mark.parametrize("name", built_in())
def test_a_token_with_nan_is_never_coded_by_plain_numbers(layer: Layer, name: str) -> None:
    site, tokens = layer
    for variant in variants(name):
        method = methods.create(name, **variant.config).fit(tokens, site, seed=1)
        x = tokens.fields[method.spec.reads][:12]
        codes = method.encode(x)
        others = [row for row in range(12) if row != 7]
        for value in (float("nan"), float("inf")):
            with_nan = method.encode(poked(x, value))
            assert not bool(with_nan[7].isfinite().all()), variant.what
            torch.testing.assert_close(with_nan[others], codes[others])
            assert not bool(method.reconstruct(with_nan, x)[7].isfinite().all()), variant.what


@pytest.mark.parametrize("name", built_in())
def test_wrong_kinds_of_input_are_refused(layer: Layer, name: str) -> None:
    site, tokens = layer
    method = small(name).fit(tokens, site, seed=1)
    x = tokens.fields[method.spec.reads][:12]
    codes = method.encode(x)
    torch.testing.assert_close(method.encode(x.T.contiguous().T), codes)
    wrong: list[Any] = [x.int(), x.bool(), x[0], x[None], x.numpy(), x.to(torch.complex64)]
    # `identity` computes nothing, so any width is right.
    wrong += [] if name == "identity" else [x[:, :1], torch.cat([x, x], 1)]
    for given in wrong:
        with pytest.raises(methods.UserError, match=rf"{name}\.encode"):
            method.encode(given)
    for given in (codes.int(), codes[0], codes.numpy(), *([] if name == "identity" else [codes[:, :1]])):
        with pytest.raises(methods.UserError, match=rf"{name}\.decode"):
            method.decode(given)


class Plain(Learner):
    """Method of a plugin, without any check of its own."""

    spec = MethodSpec("plain", "plain", "control", "output", "this file")

    def learn(self, tokens: Any, *_: Any) -> None:
        self.seen = tokens

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, codes: Tensor) -> Tensor:
        return codes

    dictionary: Callable[..., Any]
    dictionary = n_units = None  # type: ignore[assignment]


def test_plugins_are_protected_too(layer: Layer) -> None:
    site, tokens = layer
    q, a = tokens.fields["input"], tokens.fields["output"]
    assert Plain().fit(tokens, site).seen is tokens
    assert Plain().fit(tokens=tokens, site=site, seed=3).seen is tokens
    with pytest.raises(methods.UserError, match="NaN"):
        Plain().fit(MemoryTokens(q, poked(a, float("nan"))), site)
    with pytest.raises(methods.UserError, match=r"plain\.encode needs floating-point numbers"):
        Plain().encode(a.int())
    assert PURE.fit.__doc__ == PURE.fit.__wrapped__.__doc__  # type: ignore[attr-defined]


def test_tokens_that_were_checked_are_not_read_again(layer: Layer) -> None:
    site, tokens = layer

    class Checked(MemoryTokens):
        finite = True

        def gather(self, field: str, rows: np.ndarray) -> Tensor:
            raise AssertionError("the tokens were read")

    methods.create("random_split", parts=2).fit(Checked(*tokens.fields.values()), site)


def test_finite_is_seen_in_every_dtype() -> None:
    assert is_finite(torch.zeros(0)) and is_finite(torch.tensor([1, 2])) and is_finite(torch.tensor(True))
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert is_finite(torch.tensor([1.0, -2.0], dtype=dtype))
        for value in (float("nan"), float("inf"), float("-inf")):
            assert not is_finite(torch.tensor([[1.0, value], [0.0, 2.0]], dtype=dtype))


@pytest.mark.parametrize("name", ["identity", "random_split"])
def test_methods_that_read_no_tokens_need_none(layer: Layer, name: str) -> None:
    site, tokens = layer
    x = tokens.fields[methods.METHODS.get(name).spec.reads]
    without, given = (small(name).fit(fields, site) for fields in (None, tokens))
    assert torch.equal(without.encode(x), given.encode(x))
