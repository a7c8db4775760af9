"""Stores that somebody else made to harm the reader: named mutations of a small finished store.

`mutations` lists them all. Each changes a copy of a store with plain DuckDB, as its author could. Most stores with
another catalog must be refused; those with other values must be read, without a traceback and in bounded time.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from results.store.schema import SCHEMA_VERSION, current_columns

#: File that no verb may read; a hostile view names it.
SECRET = "the secret of this machine"


class Mutation(NamedTuple):
    """Change of a store."""

    name: str
    statements: Sequence[str]
    refused: bool = False
    """the store must be refused by every verb"""


def hostile_store(source: Path, target: Path, mutation: Mutation) -> Path:
    """Write a copy of the store `source` with a mutation to `target`, and return `target`.

    A file with `SECRET` lies beside it, under the name that hostile views read.
    """
    shutil.copyfile(source, target)
    secret = target.with_name("secret.txt")
    secret.write_text(SECRET, encoding="utf-8")
    with duckdb.connect(str(target)) as opened:
        for statement in mutation.statements:
            _execute(opened, statement.replace("{secret}", str(secret)))
    return target


def _execute(opened: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Execute a statement; an update that the constraints of a table forbid changes its first row, or nothing."""
    table = statement.split()[1]
    try:
        opened.execute(statement)
    except (duckdb.ConstraintException, duckdb.ConversionException):
        with contextlib.suppress(duckdb.Error):
            opened.execute(f"{statement} WHERE rowid = (SELECT min(rowid) FROM {table})")


def mutations() -> list[Mutation]:
    """Return all mutations, in a fixed order, each with a name of its own."""
    return [*catalogs(), *values()]


# Catalog: views, macros, types, columns, constraints


def catalogs() -> Iterator[Mutation]:
    """Yield mutations of the catalog."""
    yield from _views()
    yield from _versions()
    yield from _tables()
    yield from _shadows()


def _views() -> Iterator[Mutation]:
    bodies = {
        "file": "SELECT * REPLACE (content AS label) FROM kept, read_text('{secret}')",
        "huge": "SELECT kept.* FROM kept, range(1000000000000)",
        "recursive": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT kept.* FROM kept, r",
        "same": "FROM kept",
    }
    for kind, body in bodies.items():
        yield Mutation(
            f"view of {kind} in place of cells",
            ["ALTER TABLE cells RENAME TO kept", f"CREATE VIEW cells AS {body}"],
            True,
        )
    for table in current_columns():
        statements = [
            f"ALTER TABLE {table} RENAME TO kept",
            f"CREATE VIEW {table} AS SELECT kept.* FROM kept, range(1000000000000)",
        ]
        yield Mutation(f"huge view in place of {table}", statements, refused=True)


def _versions() -> Iterator[Mutation]:
    for version in (0, -1, SCHEMA_VERSION + 1, 2**31 - 1):
        yield Mutation(f"schema version {version}", [f"UPDATE meta SET schema_version = {version}"], refused=True)
    for expression in ("2::BIGINT ** 62", "'5'", "NULL::INTEGER", "5.5", "[5]", "'NaN'::DOUBLE", "{'a': 5}", "true"):
        yield Mutation(
            f"schema version {expression}", _rebuilt("meta", f"{expression} AS schema_version"), refused=True
        )
    yield Mutation("older version than its tables", ["UPDATE meta SET schema_version = 3"], refused=True)
    yield Mutation("no meta", ["DROP TABLE meta"], refused=True)
    yield Mutation("empty meta", ["DELETE FROM meta"], refused=True)
    yield Mutation("several rows in meta", ["INSERT INTO meta SELECT * FROM meta"], refused=True)
    yield Mutation("a billion rows in meta", ["INSERT INTO meta SELECT meta.* FROM meta, range(1000000)"], refused=True)


def _tables() -> Iterator[Mutation]:
    for table in current_columns():
        yield Mutation(f"no table {table}", [f"DROP TABLE {table}"], refused=True)
        yield Mutation(f"{table} without constraints", _rebuilt(table, None), refused=True)
    for column in ("label", "method", "status", "site", "backbone", "cell_id"):
        yield Mutation(f"NULL in cells.{column}", _rebuilt("cells", f"NULL::VARCHAR AS {column}"), refused=True)
    yield Mutation(
        "equal keys in cells", [*_rebuilt("cells", None), "INSERT INTO cells SELECT * FROM cells"], refused=True
    )
    for kind, expression in {
        "text": "label",
        "number": "1",
        "list": "[label]",
        "structure": "{'label': label}",
        "enumeration": "label::ENUM ('elude')",
        "BLOB": "label::BLOB",
        "JSON": "to_json(label)",
        "UNION": "union_value(label := label)",
        "MAP": "MAP {label: label}",
    }.items():
        if kind not in ("text", "enumeration"):
            yield Mutation(f"cells.label of type {kind}", _rebuilt("cells", f"{expression} AS label"), refused=True)
    yield Mutation("cells.config of type VARCHAR", _rebuilt("cells", "'{broken' AS config"), refused=True)
    yield Mutation("cells.notes of type VARCHAR[]", _rebuilt("cells", "['note'] AS notes"), refused=True)
    yield Mutation("scores.value of type VARCHAR", _rebuilt("scores", "'a' AS value"), refused=True)
    yield Mutation("units.top_image of type VARCHAR", _rebuilt("units", "'a' AS top_image"), refused=True)
    yield Mutation("column missing", ["ALTER TABLE units DROP COLUMN ms_score"], refused=True)
    yield Mutation("column more", ["ALTER TABLE cells ADD COLUMN run_started_at VARCHAR"], refused=True)
    yield Mutation("column with a default", ["ALTER TABLE units ALTER parent SET DEFAULT 5"], refused=True)
    generated = [
        "ALTER TABLE curves RENAME TO kept",
        "CREATE TABLE curves (cell_id VARCHAR NOT NULL, series VARCHAR NOT NULL, step BIGINT NOT NULL, "
        "value DOUBLE GENERATED ALWAYS AS (step / 2))",
        "INSERT INTO curves SELECT cell_id, series, step FROM kept",
    ]
    yield Mutation("generated column", generated, refused=True)
    yield Mutation("index", ["CREATE UNIQUE INDEX one ON runs (suite)"], refused=True)
    yield Mutation("index of an expression", ["CREATE INDEX one ON units ((unit + 1))"], refused=True)
    yield Mutation(
        "table in another schema", ["CREATE SCHEMA s", "CREATE TABLE s.cells AS FROM cells", "DROP TABLE cells"], True
    )
    trigger = "CREATE TRIGGER t AFTER INSERT ON cells FOR EACH STATEMENT INSERT INTO curves VALUES ('x', 'x', 1, 1)"
    yield Mutation("trigger", [trigger], refused=True)


def _shadows() -> Iterator[Mutation]:
    """Yield names that hide those of DuckDB, and additions that nothing reads."""
    scalar = ("max(x)", "min(x)", "count(x)", "avg(x)", "sum(x)", "isnan(x)", "len(x)", "to_json(x)", "concat_ws(x, y)")
    for name in (*scalar, '"+"(x, y)', '"->>"(x, y)', '"~~"(x, y)', "from_json(x, y)", "list_contains(x, y)"):
        yield Mutation(f"macro {name}", [f"CREATE MACRO {name} AS error('evaluated')"])
    for name in ("unnest(x)", "duckdb_columns()", "duckdb_tables()", "duckdb_databases()", "range(x)"):
        body = "SELECT error('evaluated') FROM range(1000000000000)"
        yield Mutation(f"table macro {name}", [f"CREATE MACRO {name} AS TABLE {body}"])
    yield Mutation("macro current_database", ["CREATE MACRO current_database() AS 'elsewhere'"])
    for view in ("duckdb_tables", "duckdb_columns", "sqlite_master"):
        yield Mutation(f"view {view}", [f"CREATE VIEW {view} AS SELECT 1 AS x FROM range(1000000000000)"])
    yield Mutation("type JSON", ["CREATE TYPE json AS ENUM ('x')"])
    for name in ("system", "temp", "cells"):
        yield Mutation(f"schema {name}", [f"CREATE SCHEMA {name}"])
    yield Mutation("sequence", ["CREATE SEQUENCE cell_id"])
    yield Mutation("extra table", ["CREATE TABLE incoming AS SELECT range AS cell_id FROM range(10)"])
    yield Mutation("extra view", ["CREATE VIEW last AS SELECT * FROM cells, range(1000000000000)"])
    yield Mutation("comment", ["COMMENT ON TABLE cells IS 'a comment; DROP TABLE cells'"])


def _rebuilt(table: str, replace: str | None) -> list[str]:
    """Return statements that make a table anew from its rows, which loses its constraints."""
    changed = f"* REPLACE ({replace})" if replace else "*"
    return [
        f"CREATE TABLE rebuilt AS SELECT {changed} FROM {table}",
        f"DROP TABLE {table}",
        f"ALTER TABLE rebuilt RENAME TO {table}",
    ]


# Values: every column of every table, by its type

_JSON = {
    "an empty object": "'{}'",
    "an empty list": "'[]'",
    "a list of numbers": "'[1, 2]'",
    "a list of lists": "'[[1], [{}]]'",
    "a list of objects": '\'[{"method": 1, "judge": [], "n": "x", "wins": {}}]\'',
    "a text": "'\"x\"'",
    "a number": "'3'",
    "null": "'null'",
    "a version in words": '\'{"version": "x"}\'',
    "a version as a list": "'{\"version\": [1]}'",
    "a huge version": "'{\"version\": ' || repeat('9', 5000) || '}'",
    "numbers for objects": '\'{"evaluation": 3, "metrics": 3, "method": 3, "cell": 1}\'',
    "lists for objects": '\'{"evaluation": {"preprocessing": [1]}, "metrics": [1], "method": [], "cell": 1}\'',
    "texts for numbers": '\'{"evaluation": {"preprocessing": {"size": "a", "resize": [], "fit": 1}}}\'',
    "a resize of 0": '\'{"evaluation": {"preprocessing": {"size": 1e308, "resize": 1e-308, "fit": "crop"}}}\'',
    "details of other types": (
        '\'{"pairs": {}, "interval": 3, "chance": "x", "atoms": 3, "without_group": "x", "alone": 3, '
        '"on": [], "silent": [[]], "ms_score": {}, "writer": [], "quantiles": 3}\''
    ),
    "details of odd values": (
        '\'{"pairs": ["a", null], "interval": [1], "chance": 1e999, "atoms": [null], '
        '"without_group": [1e308, -1e308, "NaN"], "width": "x", "matching": 3}\''
    ),
    "deep lists": "repeat('[', 100000) || repeat(']', 100000)",
    "rather deep lists": "repeat('[', 400) || repeat(']', 400)",
    "rather deep objects": "repeat('{\"a\":', 400) || '1' || repeat('}', 400)",
    "a long text": "'[\"' || repeat('x', 5000000) || '\"]'",
    "an object with a long text": "'{\"a\": \"' || repeat('x', 1000000) || '\"}'",
    "many keys": "to_json(map_from_entries(list_transform(range(20000), lambda x: (x::VARCHAR, x))))",
    "control characters": "'[\"\\u001b[31m\\u202e\\u0000\"]'",
}
_TEXTS = {
    "empty": "''",
    "5 MB": "repeat('x', 5000000)",
    "5 MB of lines": "repeat(E'a\\n', 2500000)",
    "control": "E'\\x1b[2J\\x07' || chr(8238) || 'txt.exe' || chr(8297) || E'\\r\\n\\t'",
    "markup": "'<script>alert(1)</script> [x](javascript:1) **b** $x$ | \\input{x}'",
    "formula": "'=HYPERLINK(\"http://127.0.0.1\")'",
    "combining": "'a' || repeat(chr(769), 5000)",
    "path": "'../../../../etc/passwd'",
    "odd status": "'Finished'",
}
_TIMES = ("'infinity'", "'-infinity'", "'290000-01-01'", "'0001-01-01'", "'290000-01-01 (BC)'", "'1970-01-01'")
_BY_TYPE = {
    "DOUBLE": ("'NaN'", "'Infinity'", "'-Infinity'", "1.7e308", "-1.7e308", "5e-324", "NULL", "0"),
    "INTEGER": ("-1", "2147483647", "-2147483648", "0", "NULL"),
    "BIGINT": ("-1", "9223372036854775807", "-9223372036854775807 - 1", "0", "NULL"),
    "BOOLEAN": ("NULL", "false", "true"),
    "BLOB": ("''::BLOB", "repeat('x', 5000)::BLOB", "repeat('x', 20000000)::BLOB"),
    "INTEGER[]": ("[]", "[NULL]", "[-1]", "[2147483647, 0, 0]", "range(20000)::INTEGER[]", "NULL"),
    "FLOAT[]": ("[]", "[NULL]", "['NaN'::FLOAT]", "['Infinity'::FLOAT, 1]", "[3e38, 1, 2]", "NULL"),
}


def values() -> Iterator[Mutation]:
    """Yield mutations of the values: each column of each table in turn, to each of the values for its type."""
    for table, columns in current_columns().items():
        if table == "meta":
            continue
        yield Mutation(f"{table} empty", [f"DELETE FROM {table}"])
        for column, kind in columns.items():
            for title, expression in _expressions(kind).items():
                yield Mutation(f"{table}.{column}: {title}", [f'UPDATE {table} SET "{column}" = {expression}'])
    yield Mutation("outcomes of 2^31 images", ["UPDATE outcomes SET n = 2147483647, counted = ''::BLOB"])
    yield Mutation("equal units", ["INSERT INTO units SELECT * FROM units"])
    yield Mutation("units of nobody", ["UPDATE units SET cell_id = 'nobody'"])
    yield Mutation("all cells failed", ["UPDATE cells SET status = 'failed'"])
    yield Mutation("all runs running", ["UPDATE runs SET status = 'running'"])
    yield Mutation("one tournament for all", ["UPDATE win_rates SET tournament = 'x' WHERE rowid = 0"])
    yield Mutation("many labels", ["UPDATE cells SET label = label || rowid", "UPDATE cells SET method = 'm' || rowid"])


def combined() -> Iterator[Mutation]:
    """Yield mutations that give one value to every column of its type: a quick look at many columns at once."""
    schema = {table: columns for table, columns in current_columns().items() if table != "meta"}
    kinds = dict.fromkeys(kind for columns in schema.values() for kind in columns.values())
    for kind in kinds:
        for title, expression in _expressions(kind).items():
            # Long values in every row would make a store of gigabytes.
            where = " WHERE rowid = 0" if "repeat(" in expression or "map_from" in expression else ""
            statements = [
                f'UPDATE {table} SET "{column}" = {expression}{where}'
                for table, columns in schema.items()
                for column, column_kind in columns.items()
                if column_kind == kind and not column.endswith("_id") and column not in _KEYS
            ]
            yield Mutation(f"every column of type {kind}: {title}", statements)


#: Columns that join tables, which stay as they are in combined mutations.
_KEYS = ("tournament", "evaluation_fingerprint", "metric", "version", "status", "direction", "unit", "cell_a", "cell_b")


def _expressions(kind: str) -> dict[str, str]:
    if kind == "JSON":
        return _JSON
    if kind == "VARCHAR":
        return {**_TEXTS, "NULL": "NULL"}
    if kind.startswith("TIMESTAMP"):
        return {time: f"{time}::TIMESTAMPTZ" for time in _TIMES} | {"NULL": "NULL"}
    return {value: f"({value})::{kind}" for value in _BY_TYPE[kind]}
