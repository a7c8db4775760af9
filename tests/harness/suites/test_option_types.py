"""Options of ``load_suite`` of wrong names and types: one sentence that names the option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import harness
from harness.errors import UserError
from harness.suites.option_types import checked_options

LONG = "x" * 1_000_000
ODD = (object(), b"x", {"a": 1}, [[1]], {1}, 3j, float("nan"), 10**5000, print, [None])
OPTIONS = (
    "dataset", "evaluation", "backbone", "checkpoint", "site", "head", "weights", "token_seeds", "methods",
    "extra_methods", "scale", "settings",
)  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_wrong_types(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^load_suite: {name} = .*: give ") as refused:
        harness.load_suite("demo", **{name: value})
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", [-1, 0, float("inf"), 2**63, True, "3", -0.5])
def test_wrong_numbers_of_evaluation_images(value: Any) -> None:
    with pytest.raises(UserError, match="evaluation"):
        harness.load_suite("demo", evaluation=value)


@pytest.mark.parametrize("value", [(-1,), [2**32], ["1"], 42, (True,), [1.0]])
def test_wrong_seeds(value: Any) -> None:
    with pytest.raises(UserError, match=r"token_seeds = .*from 0 to 4294967295"):
        harness.load_suite("demo", token_seeds=value)


def test_wrong_names() -> None:
    with pytest.raises(UserError, match=r"load_suite has no option 'method'\. Did you mean methods"):
        harness.load_suite("demo", method="elude")
    with pytest.raises(UserError, match=r"is no suite: give its name"):
        harness.load_suite(3)  # type: ignore[arg-type]
    for name in ("dataset", "backbone", "scale", LONG):
        with pytest.raises(UserError) as refused:
            harness.load_suite("demo", **{name: LONG})
        assert len(str(refused.value)) < 450


def test_lists_are_tuples() -> None:
    assert checked_options({"methods": ["a"], "checkpoint": Path("x")}) == {"methods": ("a",), "checkpoint": Path("x")}
    suite = harness.load_suite("demo", methods=["identity"], token_seeds=[1], evaluation=0.5)
    assert suite.seeds.tokens == (1,) and suite.data.evaluation == 0.5
