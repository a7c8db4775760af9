"""Types of settings that are numbers: texts, booleans, NaN and infinity are refused.

Each setting adds its bounds: ``epochs: Whole = Field(50, ge=1, le=100_000)``. Bounds are not part of a cell's identity.
They are literal numbers, so that :mod:`methods.source_settings` can read them without importing the method.
"""

from __future__ import annotations

import math
import numbers
from typing import Annotated, Any

from pydantic import BeforeValidator

from methods.setting_problems import number_text

#: Nearest number to 0 that is accepted besides 0 itself: beyond float32, products of smaller ones vanish unnoticed.
SMALLEST = 1e-30
_WHOLE, _REAL = "a valid integer", "a valid number"


def _whole(value: Any) -> Any:
    _refuse_other_types(value, _WHOLE)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        raise ValueError("input should be a valid integer, written without a point or exponent")
    return value


def _real(value: Any) -> Any:
    _refuse_other_types(value, _REAL)
    if not isinstance(value, numbers.Real):
        return value
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError("input is beyond the range of floating-point numbers") from error
    if not math.isfinite(number):
        raise ValueError("input should be a finite number")
    if 0 < abs(number) < SMALLEST:
        raise ValueError(f"input is nearer to 0 than {SMALLEST:g}; use 0, if it is allowed, or a larger number")
    return number


def _refuse_other_types(value: Any, what: str) -> None:
    if isinstance(value, bool):
        raise ValueError(f"input should be {what}, not true or false")
    if isinstance(value, str | bytes):
        raise ValueError(_of_text(value, what))


def _of_text(text: str | bytes, what: str) -> str:
    """Return what is wrong with a text in place of a number, which may be a number in quotes."""
    try:
        number = float(text)
    except ValueError:
        return f"input should be {what}, not text"
    # A command line gives NaN and infinity as text, since JSON does not have them.
    if not math.isfinite(number):
        return "input should be a finite number"
    advice = f"; write {number_text(number)} without quotes" if number.is_integer() or what == _REAL else ""
    return f"input should be {what}, not text{advice}"


#: Whole number, also one of NumPy's.
Whole = Annotated[int, BeforeValidator(_whole)]
#: Finite number, also a whole one, or one of NumPy's.
Real = Annotated[float, BeforeValidator(_real)]
