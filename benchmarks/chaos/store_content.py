"""Content of a store that two runs of one suite share to the bit."""

from __future__ import annotations

from pathlib import Path

#: Columns that depend on the moment, the run, and the machine's load.
_MOMENTARY = frozenset({"run_id", "seconds", "fit_seconds", "notes"})
#: Tables of runs, not of results.
_LEFT_OUT = frozenset({"meta", "runs", "environments"})


def finished_cells(store: Path) -> set[str]:
    """Return the ids of the finished cells; none if there is no store."""
    from results import open_store

    if not store.exists():
        return set()
    cells = open_store(store).cells()
    return set(cells["cell_id"][cells["status"] == "finished"])


def content(store: Path) -> dict[str, list[str]]:
    """Return the sorted rows of each table as text, bit for bit; without times, memory, and identities of runs."""
    import duckdb

    from results.store.records import DEVICE_UNITS

    rows: dict[str, list[str]] = {}
    with duckdb.connect(str(store), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        for table in sorted({*tables} - _LEFT_OUT):
            described = connection.execute(f'DESCRIBE "{table}"').fetchall()
            columns = [name for name, kind, *_ in described if name not in _MOMENTARY and "TIME" not in kind]
            where = ""
            if table == "scores":
                units = ", ".join(f"'{unit}'" for unit in sorted(DEVICE_UNITS))
                # Details hold circumstances of a measurement, such as the device and the cost of a fit.
                columns.remove("details")
                where = f" WHERE unit IS NULL OR unit NOT IN ({units})"
            selected = ", ".join(f'"{name}"' for name in columns)
            fetched = connection.execute(f'SELECT {selected} FROM "{table}"{where}').fetchall()
            rows[table] = sorted(map(repr, fetched))
    return rows
