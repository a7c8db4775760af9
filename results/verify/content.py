"""Checks of values that DuckDB accepts and this program never writes: other JSON, odd texts, impossible times."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import duckdb

from results.store import connection, frames
from results.store.json_columns import SHAPES, unfit
from results.store.schema import current_columns
from results.store.text_limits import CUT, MAX_NAME, NAME_COLUMNS
from results.verify.base import Checker, Content, check

#: Earliest and latest time that a row of a store can have.
_FIRST, _LAST = "2020-01-01", "2200-01-01"
#: Bidirectional marks, which change the order in which a line is shown.
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SHOWN = 60
#: Tables that are too long to be read text by text.
_LONG = frozenset({"units", "unit_maps", "curves", "comparisons", "replies", "outcomes", "explanations", "unit_labels"})


@check("content")
def content(content: Content, checker: Checker) -> None:
    """Check JSON columns for their shape, names for their length and characters, times and counts for their range."""
    # One connection for all columns: opening takes longer than most of the queries.
    with connection.reading(content.store.path) as opened:
        for table, columns in current_columns().items():
            if table == "meta":
                continue
            for column, kind in columns.items():
                checker.n += 1
                for where, why in _problems(opened, table, column, kind):
                    checker.n -= 1
                    checker.require(False, where, why)


def _problems(opened: duckdb.DuckDBPyConnection, table: str, column: str, kind: str) -> Iterator[tuple[str, str]]:
    """Yield the table and column, and the reason, of the values of one column that are wrong."""
    where = f"{table}.{column}"
    if kind == "JSON":
        for text, n in _values(opened, table, column):
            if unfit(column, text):
                yield where, f"has JSON of another shape in {n} rows: it must be {_shape_name(column)}."
    elif kind == "VARCHAR" and column in NAME_COLUMNS and table not in _LONG:
        for text, _ in _values(opened, table, column):
            if why := _wrong_name(column, text):
                yield where, why
    is_time = kind.startswith("TIMESTAMP")
    n_times = _count(opened, table, f"\"{column}\" NOT BETWEEN '{_FIRST}' AND '{_LAST}'") if is_time else 0
    if n_times:
        yield where, f"has {n_times} times outside of {_FIRST[:4]} to {_LAST[:4]}."
    least = _COUNTS.get((table, column))
    n_below = 0 if least is None else _count(opened, table, f'"{column}" < {least}')
    if n_below:
        yield where, f"is below {least} in {n_below} rows."


def _wrong_name(column: str, text: str) -> str:
    """Return what is wrong with a name; nothing if it can be shown."""
    if not text:
        return "is empty in a row." if column in _NEVER_EMPTY else ""
    if CUT.search(text):
        return f"has a text of more than {MAX_NAME} characters."
    hidden = sorted({f"U+{ord(sign):04X}" for sign in text if _is_control(sign)})
    return f"has the control characters {', '.join(hidden[:5])} in {text[:_SHOWN]!a}." if hidden else ""


_NEVER_EMPTY = ("cell_id", "label", "method", "backbone", "site", "metric")
#: Table and column -> smallest possible value.
_COUNTS = {
    **{("units", name): 0 for name in ("unit", "parent", "fires")},
    **{("cells", name): 0 for name in ("seconds", "fit_seconds", "n_units", "d_in", "d_out")},
    **{(table, "version"): 1 for table in ("scores", "group_scores")},
    **{("tournaments", name): 0 for name in ("n_comparisons", "n_ties", "n_missing", "n_shared")},
    **{("win_rates", name): 0 for name in ("n", "wins", "ties", "n_units")},
    ("images", "index"): 0,
    **{("labellings", name): 0 for name in ("version", "n_units", "n_images")},
    **{("unit_labels", name): least for name, least in (("unit", 0), ("rank", 1))},
    ("outcomes", "n"): 0,
    **{("unit_maps", name): 0 for name in ("unit", "side")},
    ("runs", "n_planned"): 0,
    ("group_scores", "n"): 0,
    **{("explanations", name): 0 for name in ("unit", "n_positive", "n_negative", "true_positives", "true_negatives")},
}


def _is_control(sign: str) -> bool:
    return unicodedata.category(sign) == "Cc" or sign in _BIDIRECTIONAL


def _values(opened: duckdb.DuckDBPyConnection, table: str, column: str) -> list[tuple[str, int]]:
    """Return the different texts of a column, and in how many rows each is."""
    opened.execute(f'SELECT "{column}", count(*) AS n FROM {table} WHERE "{column}" IS NOT NULL GROUP BY 1')
    return [(text, int(n)) for text, n in frames.fetch(opened).itertuples(index=False, name=None)]


def _count(opened: duckdb.DuckDBPyConnection, table: str, where: str) -> int:
    return int(opened.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchall()[0][0])


def _shape_name(column: str) -> str:
    return "a list, with items of one kind" if isinstance(SHAPES[column], list) else "an object"
