"""Conversion between DuckDB and pandas that keeps NaN and NULL apart.

DuckDB reads NaN in a pandas or NumPy column as NULL, and its own `.df()` turns NULL into NaN. Here a float NaN stays
NaN in both directions, and NULL is `pandas.NA` (numbers, booleans), `NaT` (times) or None (text, lists).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from results.errors import StoreError
from results.store import schema
from results.store.canonical import storable_text
from results.store.text_limits import MAX_NAME, cut

#: Times that pandas and Python can show; DuckDB also has the year 290000 and infinity.
_TIMES = np.datetime64("1678-01-01"), np.datetime64("2262-01-01")


def fetch(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return the result of the last statement of `connection` as a frame.

    Times are UTC; one outside of `_TIMES` is missing. Texts are cut as `text_limits` says, except JSON.

    Raises:
        StoreError: the result does not fit into memory.
    """
    kinds = {column[0]: str(column[1]) for column in connection.description or []}
    try:
        columns = connection.fetchnumpy()
    except (MemoryError, SystemError) as error:
        raise StoreError("The answer of the store does not fit into memory.") from error
    return pd.DataFrame({name: _column(name, values, kinds.get(name, "")) for name, values in columns.items()})


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries of Python objects: a missing value is None, a NaN stays NaN."""
    return [
        {str(name): None if value is pd.NA or value is pd.NaT else value for name, value in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]


def _column(name: str, values: Any, kind: str) -> pd.Series:
    data, mask = np.ma.getdata(values), np.ma.getmaskarray(values)
    if data.dtype.kind == "M":
        times = pd.Series(data).mask(mask | (data < _TIMES[0]) | (data >= _TIMES[1]))
        return times.dt.tz_localize("UTC") if kind.upper().startswith("TIMESTAMP WITH TIME ZONE") else times
    if data.dtype.kind not in "biuf":
        content = data.astype(object)
        content[mask] = None
        if kind == "VARCHAR":
            content = np.array([_bounded(name, text) for text in content], dtype=object)
        return pd.Series(content, dtype=object)
    if not mask.any():
        return pd.Series(data)
    # Built from value and mask, not by pd.array(), which would read NaN as missing.
    if data.dtype.kind == "f":
        return pd.Series(pd.arrays.FloatingArray(data.astype(np.float64), mask))
    array_type = pd.arrays.BooleanArray if data.dtype.kind == "b" else pd.arrays.IntegerArray
    return pd.Series(array_type(np.where(mask, data.dtype.type(0), data), mask))


def _bounded(name: str, text: Any) -> Any:
    return cut(name, text) if isinstance(text, str) and len(text) > MAX_NAME else text


def insert(connection: duckdb.DuckDBPyConnection, table: str, frame: pd.DataFrame, fixed: Mapping[str, str]) -> None:
    """Insert the rows of `frame` into `table` in one statement; columns that the frame lacks become NULL.

    Args:
        fixed: column -> the constant value of all rows; these columns are not in the frame.

    Raises:
        StoreError: the frame has a column that the table lacks, or lacks the first of the table's other columns.
    """
    columns = {name: kind for name, kind in schema.current_columns()[table].items() if name not in fixed}
    unknown = [str(name) for name in frame.columns if name not in columns]
    key = next(iter(columns))
    if unknown or key not in frame.columns:
        wrong = f"has unknown columns {unknown}" if unknown else f"lacks the column {key!r}"
        raise StoreError(f"The {table} frame {wrong}; the columns are {', '.join(columns)}, of which {key} is needed.")
    if frame.empty:
        return
    present = [name for name in columns if name in frame.columns]
    names = [*fixed, *present]
    selected = ["?" for _ in fixed] + [_expression(name, columns[name], frame[name]) for name in present]
    # Under our own names: only values are passed, whatever the frame's index and column objects are.
    plain = pd.DataFrame({f"c_{name}": _values(table, frame[name], columns[name]) for name in present})
    # Never unregistered: in a failed transaction that fails too and would hide the cause. The connection is
    # short-lived.
    connection.register("incoming", plain)
    quoted = ", ".join(f'"{name}"' for name in names)
    connection.execute(
        f"INSERT INTO {table} ({quoted}) SELECT {', '.join(selected)} FROM incoming", list(fixed.values())
    )


def _values(table: str, series: pd.Series, kind: str) -> pd.Series:
    if kind == "VARCHAR":
        return pd.Series([None if pd.isna(text) else storable_text(str(text)) for text in series], dtype=object)
    if kind.endswith("[]"):
        dtype = np.float32 if kind == "FLOAT[]" else np.int32
        try:
            lists = [np.asarray(values, dtype=dtype) if np.iterable(values) else None for values in series]
        except (TypeError, ValueError, OverflowError) as error:
            raise StoreError(
                f"The column {series.name!r} of the {table} frame has lists that are not numbers of {dtype.__name__}: "
                f"{error}"
            ) from error
        return pd.Series(lists, dtype=object)
    return series.reset_index(drop=True)


def _expression(name: str, kind: str, series: pd.Series) -> str:
    cast = f'"c_{name}"::{kind}'
    if kind == "FLOAT[]":
        return f"list_transform({cast}, lambda x: coalesce(x, 'nan'::FLOAT))"
    if kind == "DOUBLE" and isinstance(series.dtype, np.dtype) and series.dtype.kind == "f":
        # A NumPy float column has no missing values, so every NULL that DuckDB makes of it was a NaN.
        return f"coalesce({cast}, 'nan'::DOUBLE)"
    return cast
