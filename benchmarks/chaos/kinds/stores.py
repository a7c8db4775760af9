"""Stores: a finished one that was damaged or made by somebody else, opened by the verbs that read."""

from __future__ import annotations

import functools
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from chaos.case import Bounds, Case
from chaos.small_inputs import finished_run, use_support

ORDER = 5
N_BYTES = 24

STORE = "out.duckdb"
_VERBS = (
    ("leaderboard", "--store", STORE),
    ("verify", "--store", STORE),
    ("export", "board.md", "--store", STORE),
    ("compare", "identity", "topk_sae", "--store", STORE, "--resamples", "100"),
    ("merge", "merged.duckdb", STORE, "good.duckdb", "--prefer", "first"),
)
_TABLES = ("cells", "scores", "units", "outcomes", "images", "runs", "meta")

#: SQL that makes a store wrong; ``{table}`` is one of the tables.
_STATEMENTS: dict[str, str] = {
    "without a table": "DROP TABLE {table}",
    "table without rows": "DELETE FROM {table}",
    "a view instead of a table": ("ALTER TABLE {table} RENAME TO other; CREATE VIEW {table} AS SELECT * FROM other"),
    "a table of text": "CREATE TABLE other AS SELECT COLUMNS(*)::VARCHAR FROM {table}; DROP TABLE {table}; "
    "ALTER TABLE other RENAME TO {table}",
    "a table with one column": "CREATE TABLE other AS SELECT 1 AS one; DROP TABLE {table}; "
    "ALTER TABLE other RENAME TO {table}",
}
_VALUES: dict[str, str] = {
    **{f"schema version {v}": f"UPDATE meta SET schema_version = {v}" for v in ("0", "-1", "99", "2147483647")},
    "two schema versions": "INSERT INTO meta SELECT * REPLACE (1 AS schema_version) FROM meta",
    "secret read by a view": "ALTER TABLE cells RENAME TO other; CREATE VIEW cells AS SELECT * REPLACE "
    "((SELECT content FROM read_text('secret.txt')) || label AS label) FROM other",
    "download by a view": "ALTER TABLE cells RENAME TO other; CREATE VIEW cells AS SELECT * REPLACE "
    "(label || getenv('HOME') AS label) FROM other",
    "a macro": "CREATE MACRO count(x) AS 7; CREATE MACRO max(x) AS 'x'",
    "label of 5 MB": "UPDATE cells SET label = repeat('x', 5000000)",
    "label of control characters": r"UPDATE cells SET label = chr(27) || '[31m' || chr(8238) || label || chr(10)",
    "label of markup": "UPDATE cells SET label = '<script>[bold]x[/]' || label",
    "empty label": "UPDATE cells SET label = ''",
    "NaN scores": "UPDATE scores SET value = 'nan'::DOUBLE",
    "infinite scores": "UPDATE scores SET value = 'inf'::DOUBLE, uncertainty = 'inf'::DOUBLE",
    "NULL scores": "UPDATE scores SET value = NULL, uncertainty = NULL, n = NULL",
    "negative errors": "UPDATE scores SET uncertainty = -1, n = -1",
    "huge numbers": "UPDATE scores SET value = 1e308, n = 9223372036854775807",
    "unknown metric": "UPDATE scores SET metric = 'x' || metric",
    "metric name of markup": "UPDATE scores SET metric = '[bold]' || metric || '=1'",
    "config is a list": "UPDATE cells SET config = '[]'",
    "config is a number": "UPDATE cells SET config = '7'",
    "identity is a list": "UPDATE cells SET identity = '[]'",
    "notes are an object": "UPDATE cells SET notes = '{\"a\": 1}'",
    "claims are text": "UPDATE cells SET claims = '\"x\"'",
    "environment is a list": "UPDATE cells SET environment = '[[]]'",
    "params are text": "UPDATE scores SET params = '\"x\"'",
    "details are a list": "UPDATE scores SET details = '[1]'",
    "top images beyond the set": "UPDATE units SET top_image = [999999, -5], top_value = [1.0]",
    "no top images": "UPDATE units SET top_image = NULL, top_value = NULL, top_position = NULL",
    "outcomes cut off": "UPDATE outcomes SET positive = ''::BLOB",
    "outcomes of more images": "UPDATE outcomes SET n = 2000000000",
    "artifact elsewhere": "UPDATE cells SET artifact = '../../../etc/passwd'",
    "NULL seeds": "UPDATE cells SET token_seed = NULL, init_seed = NULL",
    "NULL layers": "UPDATE cells SET d_in = NULL, d_out = NULL, n_units = NULL",
    "times of year 1": "UPDATE cells SET started_at = '0001-01-01'::TIMESTAMPTZ",
    "times that never come": "UPDATE cells SET started_at = 'infinity'::TIMESTAMPTZ",
}


def cases(seed: int) -> Iterator[Case]:
    """Yield damaged bytes, wrong tables and wrong values."""
    use_support()
    finished_run()
    yield _case("undamaged", lambda folder: None, codes=frozenset({0}))
    for number in range(N_BYTES):
        draw = random.Random(f"{seed} {number}")
        yield _case(f"damaged bytes {number}", functools.partial(_damage, draw))
    for name, statement in _STATEMENTS.items():
        for table in _TABLES:
            yield _case(f"{name}: {table}", functools.partial(_execute, statement.format(table=table)))
    for name, statement in _VALUES.items():
        yield _case(name, functools.partial(_execute, statement))


def _case(name: str, change: Callable[[Path], None], codes: frozenset[int] = frozenset({0, 1, 2})) -> Case:
    def write(folder: Path) -> None:
        good = finished_run() / "out" / "results.duckdb"
        shutil.copy(good, folder / "good.duckdb")
        shutil.copy(good, folder / STORE)
        (folder / "secret.txt").write_text("this text must never be printed")
        change(folder)

    def nothing_leaked(folder: Path, done: object) -> Iterator[str]:
        texts = [file.read_text(errors="replace") for file in folder.glob("board.*")]
        if any("must never be printed" in text for text in [repr(done), *texts]):
            yield "a file of the reader was printed"
        if any("Traceback" in text for text in texts):
            yield "a traceback was written"

    return Case(name, write, _VERBS, codes=codes, bounds=Bounds(30, 800), examine=nothing_leaked)


def _damage(draw: random.Random, folder: Path) -> None:
    file = folder / STORE
    data = bytearray(file.read_bytes())
    if draw.random() < 0.3:
        del data[draw.randrange(1, len(data)) :]
    for _ in range(draw.choice([1, 20, 2000])):
        data[draw.randrange(len(data))] = draw.randrange(256)
    file.write_bytes(bytes(data))


def _execute(statements: str, folder: Path) -> None:
    import duckdb

    with duckdb.connect(str(folder / STORE)) as connection:
        for statement in statements.split(";"):
            connection.execute(statement)
