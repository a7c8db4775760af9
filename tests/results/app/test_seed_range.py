"""Times and memory are drawn with their range over seeds; everything else with a 95 % interval."""

from __future__ import annotations

import numpy as np
import pytest

from results.app.seed_range import is_seed_range, seed_range, spread_name
from results.app.standings import spans_of
from results.boards.board import Aggregate, Column, Row


def column(unit: str) -> Column:
    return Column(
        key="m",
        metric="m",
        version=1,
        params={},
        panel=None,
        evaluation_fingerprint=None,
        device=None,
        unit=unit,
        direction="lower",
    )


def aggregate(values: tuple[float, ...], unit: str) -> Aggregate:
    return Aggregate(
        mean=float(np.mean(values)),
        std=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        n=len(values),
        values=values,
        standard_error=None,
        n_undefined=0,
        direction="lower",
        unit=unit,
    )


def test_the_range_is_that_of_the_seeds() -> None:
    assert seed_range(aggregate((4.0, 1.0, 1.0), "s")) == (2.0, 1.0, 4.0)
    assert seed_range(aggregate((2.5,), "s")) == (2.5, 2.5, 2.5)


@pytest.mark.parametrize(("unit", "is_range"), [("s", True), ("MB", True), ("fraction", False), ("", False)])
def test_only_what_a_device_measured_has_a_range(unit: str, is_range: bool) -> None:
    assert is_seed_range(column(unit)) is is_range
    assert spread_name(column(unit)) == ("range over seeds" if is_range else "95 % interval")


def test_a_time_never_reaches_below_zero() -> None:
    # Student's t of these seeds does: 2.8 s with an interval from -1.6 s.
    values = (4.8, 1.8, 1.8)
    draws = np.linspace(-2.0, 7.0, 2000)[:, None]
    row = _row(aggregate(values, "s"))
    assert spans_of([row], column("s"), draws) == [(pytest.approx(2.8), 1.8, 4.8)]
    ((_, low, _),) = spans_of([_row(aggregate(values, ""))], column(""), draws)
    assert low < 0


def _row(values: Aggregate) -> Row:
    from types import SimpleNamespace

    return SimpleNamespace(metrics={"m": values})  # type: ignore[return-value]
