"""The check of ``Method.fingerprint``: on an unfitted method, the same each time, text or None, and quick."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from harness.check import method_calls
from harness.check.finding import Finding, run
from harness.check.methods import CheckedMethod
from methods.identity import Identity


def found(fingerprint: Any) -> Finding:
    cls = type("Mine", (Identity,), {"spec": Identity.spec._replace(name="mine"), "fingerprint": fingerprint})
    return run(method_calls.fingerprint, CheckedMethod(cls, {}, "cpu"))


def test_text_and_none_pass() -> None:
    assert found(lambda self: None) == Finding("fingerprint", True)
    assert found(lambda self: "abc") == Finding("fingerprint", True, "abc")


@pytest.mark.parametrize(
    ("value", "words"),
    [(3, "a int; it must return text"), (b"abc", "a bytes"), ("a\n", "cannot be printed"), ("a" * 1001, "1001 char")],
)
def test_other_values_fail(value: Any, words: str) -> None:
    assert words in found(lambda self: value).why


def test_a_value_that_changes_between_calls_of_one_method_fails() -> None:
    calls = itertools.count()
    assert "another value at each call" in found(lambda self: str(next(calls))).why

    # Only the second call on the same object differs.
    def second(self: Any) -> str:
        self.calls = getattr(self, "calls", 0) + 1
        return str(self.calls)

    assert "another value at each call" in found(second).why


def test_a_fingerprint_that_fits_fails() -> None:
    def fits(self: Any) -> str:
        import torch

        self.width = torch.tensor(8)
        return "abc"

    assert "fits the method" in found(fits).why


def test_a_slow_one_fails_unless_it_keeps_what_it_has_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method_calls, "QUICK_S", 0.02)
    assert "s at each call" in found(lambda self: time.sleep(0.05) or "abc").why
    kept: list[str] = []

    def cached(self: Any) -> str:
        if not kept:
            time.sleep(0.05)
            kept.append("abc")
        return kept[0]

    assert found(cached).ok
