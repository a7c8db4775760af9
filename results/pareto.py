"""Pareto front of two measures."""

from __future__ import annotations

import numpy as np
import pandas as pd


def pareto_front(frame: pd.DataFrame, x: str, y: str, larger_x: bool = True, larger_y: bool = True) -> np.ndarray:
    """Return the mask of the rows of `frame` on the Pareto front of columns `x` and `y`, in O(n log n).

    A row is on the front if no other row is at least as good in both columns and better in one. Equal rows are on
    it together or not at all; a row where either column is NaN or missing never is.

    Args:
        frame: n rows, any index.
        x: column of numbers.
        y: column of numbers.
        larger_x: true if larger is better in `x`.
        larger_y: true if larger is better in `y`.

    Returns:
        Boolean mask (n,), in the order of the rows.

    Raises:
        KeyError: `frame` has no such column.
        ValueError: `frame` is no DataFrame, has the column twice, or the column holds something that is not a number.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"pareto_front needs a DataFrame, not a {type(frame).__name__}")
    costs = pd.DataFrame({"first": _cost(frame, x, larger_x), "second": _cost(frame, y, larger_y)}).dropna()
    # Of the rows with equal `first`, only those with the least `second` can be on the front, and they are on it if they
    # beat all rows with a smaller `first`. NaN: there is none, and infinity could be a value.
    least = costs.groupby("first")["second"].min()
    before = least.cummin().shift()
    front = least[(least < before) | before.isna()]
    mask = np.zeros(len(frame), dtype=bool)
    mask[costs.index[costs["second"] == costs["first"].map(front)]] = True
    return mask


def _cost(frame: pd.DataFrame, name: str, larger: bool) -> np.ndarray:
    """Return the (n,) values of a column, negated if larger is better."""
    if name not in frame.columns:
        present = ", ".join(map(str, frame.columns))
        raise KeyError(f"pareto_front: the frame has no column {name!r}; there are {present}")
    column = frame[name]
    if column.ndim != 1:
        raise ValueError(f"pareto_front: the frame has the column {name!r} twice")
    if pd.api.types.is_complex_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise ValueError(f"pareto_front: the column {name!r} holds {column.dtype}; it must hold real numbers")
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"pareto_front: the column {name!r} must hold numbers ({error})") from error
    cost: np.ndarray = -values if larger else values
    return cost


def front_shares(x: np.ndarray, y: np.ndarray, larger_x: bool = True, larger_y: bool = True) -> np.ndarray:
    """Return for each row the share of draws in which it is on the Pareto front, by the definition above.

    Args:
        x: (draws, n); draw i of all rows is one joint draw, so errors that rows share must be drawn together.
        y: (draws, n).
        larger_x: true if larger is better in `x`.
        larger_y: true if larger is better in `y`.

    Returns:
        (n,) fractions; 0 for a row whose draws are NaN.

    Raises:
        ValueError: the shapes differ, or there is no draw.
    """
    if x.shape != y.shape or x.ndim != 2 or not len(x):
        raise ValueError(f"draws of x {x.shape} and y {y.shape} must have one shape (draws, n) with at least one draw")
    first, second = (-x if larger_x else x), (-y if larger_y else y)
    complete = ~(np.isnan(first) | np.isnan(second))
    # Comparisons with NaN are false: such a row beats no other, and `complete` keeps it off the front.
    count = np.zeros(x.shape[1])
    # One comparison of all pairs in 256 draws: 50 rows are 640 kB.
    for start in range(0, len(x), 256):
        a, b = first[start : start + 256], second[start : start + 256]
        no_worse = (a[:, :, None] <= a[:, None, :]) & (b[:, :, None] <= b[:, None, :])
        better = (a[:, :, None] < a[:, None, :]) | (b[:, :, None] < b[:, None, :])
        count += ((~(no_worse & better).any(axis=1)) & complete[start : start + 256]).sum(axis=0)
    return count / len(x)
