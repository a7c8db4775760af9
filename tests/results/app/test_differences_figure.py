"""The forest plot of a comparison."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import altair as alt
import pytest

pytest.importorskip("streamlit")

from app_store import DROP

from results.app.figures.differences import difference_figures, p_text


def difference(metric: str, direction: str, value: float, better: str | None, **changes: Any) -> SimpleNamespace:
    column = SimpleNamespace(
        key=metric, metric=metric, unit=changes.pop("unit", "fraction"), direction=direction, digits=2, panel=None
    )
    fields = {"low": value - 0.01, "high": value + 0.02, "better": better, "p": 0.001, "p_holm": 0.004}
    return SimpleNamespace(column=column, difference=value, **(fields | changes))


FOUND = [
    difference("kl", "lower", -0.05, "a", unit="nat"),
    difference("ms_score", "higher", 0.2, "a"),
    difference("unit_overlap", "lower", 0.1, "b"),
    difference("accuracy", "higher", 0.005, None, p_holm=1.0),
]
NOT_DRAWN = [
    difference("win_rate", "none", 0.5, None),
    # Its companion is tested.
    difference("ms_score_adjusted", "higher", 0.4, None, p=None, p_holm=None),
    difference("r2", "higher", 0.4, None, low=None, high=None),
]
SIDES = {"a": SimpleNamespace(title="ELUDe"), "b": SimpleNamespace(title=DROP)}


def figures(differences: list[SimpleNamespace]) -> Any:
    return difference_figures(SimpleNamespace(differences=differences, **SIDES))  # type: ignore[arg-type]


def test_differences_point_to_the_side_they_speak_for() -> None:
    shares, nats = figures([*FOUND, *NOT_DRAWN])
    rows = {row["metric"]: row for row in shares["datasets"]["rows"]}
    assert list(rows) == ["MS score", "unit overlap ↓", "accuracy"]
    ends = {name: [row["low"], row["middle"], row["high"]] for name, row in rows.items()}
    assert ends["MS score"] == pytest.approx([19.0, 20.0, 22.0])
    # Of a metric of which less is better, A minus B is turned round, and the interval with it.
    assert ends["unit overlap ↓"] == pytest.approx([-12.0, -10.0, -9.0])
    # The numbers stay A minus B, as in the sentence and the tables.
    assert rows["unit overlap ↓"]["text"] == "+10.0 [9.0, 12.0]"
    assert rows["unit overlap ↓"]["in_favour"] == "−10.0 [−12.0, −9.0]"
    better = {name: row["better"] for name, row in rows.items()}
    assert list(better.values()) == ["ELUDe is better", f"{DROP} is better", "no significant difference"]
    assert rows["MS score"]["p"] == "p = 0.004"
    # Quantities of other units have a scale of their own.
    assert [row["metric"] for row in nats["datasets"]["rows"]] == ["KL ↓"]
    assert nats["datasets"]["rows"][0]["text"] == "−0.050 [−0.060, −0.030]"
    for figure in (shares, nats):
        # The schema does not know the layout of legends, a setting of Vega.
        alt.Chart.from_dict(figure | {"config": {}}, validate=True)
    # Flush labels would put the first name below its line.
    assert all(figure["layer"][1]["encoding"]["y"]["axis"]["labelFlush"] is False for figure in (shares, nats))
    low, high = shares["layer"][1]["encoding"]["x"]["scale"]["domain"]
    assert low < -12 and high > 22


def test_what_is_not_tested_is_not_drawn() -> None:
    assert figures(NOT_DRAWN) == []


def test_a_p_value_has_few_digits() -> None:
    assert [p_text(p) for p in (None, 0.0001, 0.0123, 0.5)] == ["–", "p < 0.001", "p = 0.012", "p = 0.50"]
