"""Sentence on the change of the predictions by steering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.short_number import short_number
from results.visible_text import names_text

#: Smallest change of a probability that is called one.
_LEAST = 0.005


def steering_finding(classes: Sequence[Mapping[str, Any]]) -> str:
    """Return the class that changes most, beside what random units do to it.

    Args:
        classes: name, and the probabilities before, after and with random units (control).
    """
    if not classes:
        return "The network predicts no classes for this image"
    most = max(classes, key=lambda each: abs(each["after"] - each["before"]))
    name, change = names_text([most["name"]]), most["after"] - most["before"]
    if abs(change) < _LEAST:
        return f"No class changes by half a percentage point: “{name}” stays at {percent(most['before'])}"
    verb = "rises" if change > 0 else "falls"
    return (
        f"“{name}” {verb} from {percent(most['before'])} to {percent(most['after'])}; "
        f"random units: {percent(most['control'])}"
    )


def caution(classes: Sequence[Mapping[str, Any]], divergence: float | None, by_chance: float | None) -> str:
    """Return a warning if random units do about as much as the units of the concepts; else "".

    Args:
        classes: as for :func:`steering_finding`.
        divergence: KL(before || after) in nats; None: undefined.
        by_chance: the same with random units.
    """
    if divergence is not None and by_chance is not None and by_chance >= max(divergence, _LEAST):
        return "Random units with a change of equal size change the predictions at least as much as these units do."
    if not classes:
        return ""
    most = max(classes, key=lambda each: abs(each["after"] - each["before"]))
    change, of_control = most["after"] - most["before"], most["control"] - most["before"]
    if abs(change) < _LEAST or of_control / change < 0.5:
        return ""
    return "Random units with a change of equal size do at least half of this: the concept explains little of it."


def percent(probability: float) -> str:
    """Return a probability as percent with three significant digits."""
    return f"{short_number(100 * probability)} %"
