"""Second argument of ``decode``: passed to methods that take it, and required of methods that need it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.check.methods import check_method
from harness.check.world import small_layer
from methods import UserError
from methods.base import Method
from methods.identity import Identity
from methods.requirements import DecodeInput, decode_input

CODES, X = torch.zeros(2, 8), torch.ones(2, 8)


def method_of(decode: Any, *, reads_input: bool = False, bases: tuple[type, ...] = (Identity,)) -> Method:
    attributes = {
        "spec": Identity.spec._replace(name="mine"),
        "decode_reads_input": property(lambda self: reads_input),
        **({} if decode is None else {"decode": decode}),
    }
    site, tokens = small_layer()
    cls: type[Method] = type("Mine", bases, attributes)
    return cls().fit(tokens, site)


def codes_alone(self: Any, codes: Tensor) -> Tensor:
    return codes


def optional(self: Any, codes: Tensor, x: Tensor | None = None) -> Tensor:
    return codes if x is None else codes + x


def needed(self: Any, codes: Tensor, inputs: Tensor) -> Tensor:
    return codes + inputs


def by_keyword(self: Any, codes: Tensor, *, x: Tensor | None = None) -> Tensor:
    return codes if x is None else codes + x


def something_else(self: Any, codes: Tensor, scale: Any = 2.0) -> Tensor:
    return codes + 3 * (scale if isinstance(scale, float) else scale / 3)


def of_anything(self: Any, *arguments: Tensor) -> Tensor:
    return torch.stack(arguments).sum(0)


@pytest.mark.parametrize(
    ("decode", "parameter"),
    [
        (codes_alone, None),
        (optional, DecodeInput(None, True, False)),
        (needed, DecodeInput(None, True, True)),
        (by_keyword, DecodeInput("x", True, False)),
        (something_else, DecodeInput(None, False, False)),
        (of_anything, DecodeInput(None, False, False)),
    ],
)
def test_the_signature_says_what_decode_takes(decode: Any, parameter: DecodeInput | None) -> None:
    assert decode_input(decode) == parameter


@pytest.mark.parametrize(
    ("decode", "reads_input", "with_x"),
    [
        (codes_alone, False, 0.0),
        (codes_alone, True, 0.0),
        (optional, False, 0.0),
        (optional, True, 1.0),
        (needed, True, 1.0),
        (by_keyword, True, 1.0),
        (by_keyword, False, 0.0),
        (something_else, False, 6.0),
        (something_else, True, 1.0),
        (of_anything, False, 0.0),
        (of_anything, True, 1.0),
    ],
)
def test_the_input_is_passed_only_to_methods_that_say_that_they_read_it(
    decode: Any, reads_input: bool, with_x: float
) -> None:
    method = method_of(decode, reads_input=reads_input)
    assert torch.equal(method.reconstruct(CODES, X), torch.full((2, 8), with_x))
    assert torch.equal(method.decode(CODES, X), method.reconstruct(CODES, X))
    assert torch.equal(method.decode(CODES, x=X), method.reconstruct(CODES, X))


@pytest.mark.parametrize(("decode", "reads_input"), [(optional, True), (needed, True), (by_keyword, True)])
def test_a_missing_input_is_one_sentence(decode: Any, reads_input: bool) -> None:
    method = method_of(decode, reads_input=reads_input)
    with pytest.raises(UserError, match=r"^mine\.decode needs what encode has read as its second argument") as refused:
        method.decode(CODES)
    assert str(refused.value).count(".") == 2  # that of the name, and that of the sentence
    assert torch.equal(method_of(optional).decode(CODES), CODES)


def test_a_decode_that_needs_an_undeclared_input_says_how_to_declare_it() -> None:
    method = method_of(needed)
    for arguments in ((CODES,), (CODES, X)):
        with pytest.raises(UserError, match=r"needs what encode has read .*: set decode_reads_input = True"):
            method.decode(*arguments)


def test_a_decode_that_returns_its_target_does_not_see_it() -> None:
    def target(self: Any, codes: Tensor, x: Tensor | None = None) -> Tensor:
        return codes / 2 if x is None else x.clone()

    method = method_of(target)
    assert torch.equal(method.reconstruct(X, X), X / 2)
    [why] = [finding.why for finding in check_method(type(method)) if "is given x" in finding.why]
    assert why == "decode gives another result when it is given x: set decode_reads_input = True, or do not use x."
    declared = check_method(type(method_of(target, reads_input=True)))
    [note] = [finding.why for finding in declared if "without any unit" in finding.why]
    assert note.startswith("decode explains 100.0% of the variance")


def test_a_method_cannot_take_its_target_by_overriding_reconstruct() -> None:
    with pytest.raises(UserError, match="Mine overrides reconstruct: override decode"):
        type("Mine", (Identity,), {"reconstruct": lambda self, codes, x: x})
    mixin = type("Target", (), {"reconstruct": lambda self, codes, x: x})
    with pytest.raises(UserError, match="Mine overrides reconstruct"):
        type("Mine", (mixin, Identity), {})


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (X[:1], "was given 2 rows of codes and 1 of x"),
        (X[:, :5], r"was given the shape \(2, 5\); it must be \(n, 8 features"),
        (X.tolist(), "needs a torch.Tensor, not list"),
        (X.long(), "needs floating-point numbers, not torch.int64"),
    ],
)
def test_an_input_of_the_wrong_kind_is_refused(x: Any, why: str) -> None:
    method = method_of(optional, reads_input=True)
    type(method).input_width = property(lambda self: 8)  # type: ignore[method-assign, assignment]
    with pytest.raises(UserError, match=rf"^mine\.decode .*{why}"):
        method.decode(CODES, x)


def test_check_finds_a_decode_that_cannot_be_given_its_input() -> None:
    def of(decode: Any) -> list[str]:
        cls = type(method_of(decode, reads_input=True))
        return [finding.why for finding in check_method(cls) if not finding.ok]

    assert "decode_reads_input is True, but decode takes the codes alone" in of(codes_alone)[0]
    assert not any("takes the codes alone" in why for why in of(optional))


def test_a_decode_of_another_base_class_is_checked_as_well() -> None:
    class Halves:
        def decode(self, codes: Tensor) -> Tensor:
            return codes / 2

    method = method_of(None, bases=(Halves, Identity))
    assert torch.equal(method.reconstruct(X, X), X / 2)
    with pytest.raises(UserError, match=r"mine\.decode needs floating-point numbers"):
        method.decode(X.int())


def test_super_may_be_called_without_the_input() -> None:
    class Shifted(Identity):
        spec = Identity.spec._replace(name="shifted")
        decode_reads_input = True  # type: ignore[assignment]

        def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
            assert x is not None
            return super().decode(codes) + x

    site, tokens = small_layer()
    method = Shifted().fit(tokens, site)
    assert torch.equal(method.reconstruct(CODES, X), X)
    with pytest.raises(UserError, match=r"shifted\.decode needs"):
        method.decode(CODES)
