"""A comparison in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from results.comparison.sentence import comparison_sentence, comparison_sentences


def difference(metric: str, value: float, better: str | None, **changes: Any) -> SimpleNamespace:
    fields = {"p": 0.01, "low": value - 0.009, "high": value + 0.009, "n_seeds": 3}
    column = SimpleNamespace(
        panel=None,
        key=metric,
        metric=metric,
        unit=changes.pop("unit", "fraction"),
        direction=changes.pop("direction", "higher"),
        digits=2,
    )
    return SimpleNamespace(column=column, difference=value, better=better, **(fields | changes))


def sentence(*differences: SimpleNamespace, names: tuple[str, str] = ("ELUDe", "backbone"), n_seeds: int = 3) -> str:
    return comparison_sentence(comparison(*differences, names=names, n_seeds=n_seeds))


def comparison(*differences: SimpleNamespace, names: tuple[str, str] = ("ELUDe", "backbone"), n_seeds: int = 3) -> Any:
    a, b = (SimpleNamespace(title=name, title_with_flags=f"{name} [flag]" if name == "flagged" else name)
            for name in names)  # fmt: skip
    return SimpleNamespace(a=a, b=b, differences=differences, seeds=("token seed",) * n_seeds)


def test_the_lead_difference_comes_with_its_interval() -> None:
    others = [difference("r2", 0.0, None), difference("accuracy", 0.01, None)]
    text = "ELUDe has 4.5 [3.6, 5.4] points more MS score than backbone; nothing else differs significantly"
    assert sentence(*others, difference("ms_score", 0.045, "a")) == f"{text} (2 more tested)."
    lost = sentence(*others, difference("ms_score", -0.045, "b"))
    assert lost.startswith("ELUDe has 4.5 [3.6, 5.4] points less MS score than backbone; nothing")


def test_what_else_differs_is_told_by_side() -> None:
    lead = difference("ms_score", 0.001, None)
    others = [
        difference("r2", 0.4, "a"),
        difference("kl", -0.1, "a", unit="nat", direction="lower"),
        difference("unit_overlap", 0.1, "b", direction="lower"),
        difference("accuracy", 0.0, None),
    ]
    first, second = comparison_sentences(comparison(lead, *others, names=("flagged", "backbone")))
    assert first == (
        "flagged [flag] and backbone do not differ significantly in MS score (+0.10 [-0.80, 1.00] points)."
    )
    assert second == (
        "Of 4 more tested, flagged is better in R2, KL; backbone is better in unit overlap; "
        "1 does not differ significantly."
    )


def test_a_metric_of_which_less_is_better_is_named_so() -> None:
    kl = difference("kl", -0.1, "a", unit="nat", direction="lower")
    assert sentence(kl) == (
        "ELUDe has 0.10 [0.09, 0.11] nat less KL than backbone (less is better). Nothing else is tested."
    )


def test_without_a_test_the_reason_is_told() -> None:
    untested = difference("ms_score", 0.1, None, p=None)
    assert "One pair of seeds cannot tell" in sentence(untested, n_seeds=1)
    assert sentence(untested) == "No quantity of ELUDe and backbone can be tested."


def test_rows_of_one_title_are_told_apart() -> None:
    assert sentence(difference("ms_score", 0.045, "a"), names=("x", "x")).startswith("x (A) has")
