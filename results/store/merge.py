"""Merge of several stores: measurements of several machines, each cell once, conflicts refused."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from results.atomic import partial_file
from results.errors import StoreError
from results.store import Store, connection, schema
from results.store.canonical import canonical_json
from results.store.environments import BOUNDED_UNITS, WITH_TRAINING, causes, expected_difference
from results.store.records import DEVICE_UNITS, records_of

PREFER = ("first", "newest")
#: Beyond this relative difference two values are different measurements, unless two recorded environments explain it.
TOLERANCE = 1e-6
_OF_CELL = ("cells", "scores", "units", "curves")
_OF_TOURNAMENT = ("tournaments", "win_rates", "comparisons")


class Conflict(NamedTuple):
    """Same object with different content in two stores."""

    what: str
    """the cell, tournament, ... in words"""
    first: str
    """the store that came first"""
    second: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why} ({self.first} and {self.second})"


class Merged(NamedTuple):
    """Summary of a merge."""

    path: Path
    cells: int
    duplicates: int
    """number of cells that several stores had, kept once"""
    rounded: dict[str, int]
    """cause -> number of cells that several environments computed with expected differences; the first one was kept"""
    resolved: list[Conflict]
    """conflicts that `prefer` decided"""
    rows: dict[str, int]
    """table -> rows"""
    artifacts: int
    """number of copied files"""
    missing_artifacts: list[str]


class MergeConflict(StoreError):
    """The stores contradict each other; nothing was written."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        listed = "\n".join(f"  {one}" for one in conflicts[:20])
        more = f"\n  and {len(conflicts) - 20} more" if len(conflicts) > 20 else ""
        super().__init__(
            f"{len(conflicts)} conflicts; nothing was written. Say --prefer first (the order given) or --prefer newest."
            f"\n{listed}{more}"
        )
        self.conflicts = list(conflicts)


def merge(
    out: Path,
    inputs: Sequence[Path],
    *,
    prefer: str | None = None,
    artifacts: bool = False,
    overwrite: bool = False,
) -> Merged:
    """Write the store `out` with the content of all `inputs`, atomically.

    A cell that several stores have is taken once. If its scores differ beyond rounding, that is a conflict. Between two
    environments larger differences count as rounding. Differences in times and memory, which depend on the machine, are
    not conflicts, and a finished cell takes precedence over a failed one.

    Args:
        out: the new store.
        inputs: two or more stores, of any schema version this program reads.
        prefer: "first" or "newest" decides conflicts; None refuses them.
        artifacts: also copy the files that cells name, to the same relative path beside `out`.
        overwrite: `out` may exist (it may be one of the inputs); otherwise it is refused.

    Raises:
        MergeConflict: the stores contradict each other, and `prefer` is None.
        StoreError: fewer than two stores, an input that cannot be read, or a path that cannot be written.
    """
    target = Path(out).expanduser().absolute()
    paths = [Path(path).expanduser().absolute() for path in inputs]
    if prefer is not None and prefer not in PREFER:
        raise StoreError(f"Conflicts cannot be decided by {prefer!r}; it is one of {', '.join(PREFER)}.")
    if len(set(paths)) < 2:
        raise StoreError("A merge needs two or more different stores: harness merge OUT IN1 IN2.")
    if target.exists() and not overwrite:
        raise StoreError(f"{target} exists; name another file, or say --overwrite.")
    sources = [_Source(number, path) for number, path in enumerate(dict.fromkeys(paths))]
    conflicts: list[Conflict] = []
    rounded: dict[str, int] = {}
    cell_from, duplicates = _cells(sources, prefer, conflicts, rounded)
    tournament_from = _tournaments(sources, prefer, conflicts)
    _replies_and_images(sources, conflicts)
    if conflicts and prefer is None:
        raise MergeConflict(conflicts)
    connection.make_folder(target)
    try:
        with partial_file(target) as partial:
            schema.create(partial)
            rows = _write(partial, sources, cell_from, tournament_from, prefer)
            copied, missing = _copy_artifacts(target, sources, cell_from) if artifacts else (0, [])
    except (OSError, duckdb.Error) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise StoreError(f"The merged store {target} cannot be written ({reason}).") from error
    return Merged(target, rows["cells"], duplicates, rounded, conflicts, rows, copied, missing)


class _Source:
    def __init__(self, number: int, path: Path) -> None:
        self.number = number
        self.path = path
        self.store = Store(path)
        self.cells = {cell["cell_id"]: cell for cell in records_of(self.store.cells())}
        recorded = [cell["environment"] for cell in self.cells.values() if cell["environment"]]
        self.environments = list({canonical_json(one): one for one in recorded}.values())
        self.scores: dict[str, dict[tuple[Any, ...], float | None]] = {}
        self.units: dict[tuple[Any, ...], str] = {}
        for score in records_of(
            self.store.query("SELECT cell_id, metric, version, params_hash, unit, value FROM scores")
        ):
            if score["unit"] not in DEVICE_UNITS:
                key = (score["metric"], score["version"], score["params_hash"])
                self.scores.setdefault(score["cell_id"], {})[key] = score["value"]
                self.units[key] = score["unit"] or ""

    @property
    def name(self) -> str:
        return str(self.path)


def _cells(
    sources: Sequence[_Source], prefer: str | None, conflicts: list[Conflict], rounded: dict[str, int]
) -> tuple[dict[str, _Source], int]:
    """Return the store that each cell is taken from, and the number of cells in several stores."""
    chosen: dict[str, _Source] = {}
    twice = set()
    for source in sources:
        for cell_id, cell in source.cells.items():
            earlier = chosen.get(cell_id)
            if earlier is None:
                chosen[cell_id] = source
                continue
            twice.add(cell_id)
            other = earlier.cells[cell_id]
            if cell["status"] != other["status"]:
                chosen[cell_id] = source if cell["status"] == "finished" else earlier
                continue
            newer = _time(cell["started_at"]) > _time(other["started_at"])
            why = _difference(earlier.scores.get(cell_id, {}), source.scores.get(cell_id, {}))
            differing = causes(other["environment"], cell["environment"])
            if (
                why
                and differing
                and not _difference(*_bounded(earlier, source, cell_id), expected_difference(cell["claims"]))
            ):
                why = ""
                for cause in differing:
                    rounded[cause] = rounded.get(cause, 0) + 1
            if cell["status"] == "failed":
                why = ""
                chosen[cell_id] = source if newer else earlier
            if why:
                title = f"cell {cell_id} ({cell['label']} at {cell['backbone']} {cell['site']})"
                conflicts.append(Conflict(title, earlier.name, source.name, why))
                chosen[cell_id] = source if prefer == "newest" and newer else earlier
    return chosen, len(twice)


def _bounded(
    first: _Source, second: _Source, cell_id: str
) -> tuple[Mapping[tuple[Any, ...], float | None], Mapping[tuple[Any, ...], float | None]]:
    """Return the cell's scores in two stores, without those whose rounding has no bound."""

    def of(source: _Source) -> dict[tuple[Any, ...], float | None]:
        scores = source.scores.get(cell_id, {})
        return {key: value for key, value in scores.items() if source.units[key] in BOUNDED_UNITS}

    return of(first), of(second)


def _difference(
    first: Mapping[tuple[Any, ...], float | None],
    second: Mapping[tuple[Any, ...], float | None],
    tolerance: float = TOLERANCE,
) -> str:
    for key in sorted({*first, *second}, key=str):
        name = f"{key[0]}@{key[1]}"
        if (key in first) != (key in second):
            return f"{name} is only in {'the first' if key in first else 'the second'}"
        one, other = first[key], second[key]
        if not _same(one, other, tolerance):
            return f"{name} is {one} and {other}"
    return ""


def _same(one: float | None, other: float | None, tolerance: float = TOLERANCE) -> bool:
    if one is None or other is None:
        return one is other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)


def _time(moment: Any) -> float:
    return pd.Timestamp(moment).timestamp() if moment is not None and not pd.isna(moment) else -math.inf


def _tournaments(sources: Sequence[_Source], prefer: str | None, conflicts: list[Conflict]) -> dict[str, _Source]:
    chosen: dict[str, _Source] = {}
    judged: dict[str, tuple[Any, dict[str, Any]]] = {}
    for source in sources:
        heads = source.store.query("SELECT tournament, panel, judged_at FROM tournaments ORDER BY tournament")
        rates = source.store.query("SELECT tournament, config_id, label, win_rate FROM win_rates")
        by: dict[str, dict[str, Any]] = {}
        for row in records_of(rates):
            by.setdefault(row["tournament"], {})[f"{row['label']} {row['config_id']}"] = row["win_rate"]
        for head in records_of(heads):
            name, rates_of = head["tournament"], by.get(head["tournament"], {})
            if name not in chosen:
                chosen[name], judged[name] = source, (head["judged_at"], rates_of)
                continue
            when, earlier_rates = judged[name]
            if set(rates_of) != set(earlier_rates) or any(
                not _same(rates_of[key], earlier_rates[key]) for key in rates_of
            ):
                conflicts.append(
                    Conflict(f"tournament {name} ({head['panel']})", chosen[name].name, source.name, "win rates differ")
                )
                if prefer == "newest" and _time(head["judged_at"]) > _time(when):
                    chosen[name], judged[name] = source, (head["judged_at"], rates_of)
    return chosen


def _replies_and_images(sources: Sequence[_Source], conflicts: list[Conflict]) -> None:
    """Collect conflicts: replies to the same question with another answer, and indices of another image."""
    kinds = (
        ("replies", "judge, prompt_version, grid_a, grid_b, attempt", "answer"),
        ("images", 'dataset, "index"', "name"),
        ("group_scores", "group_id, metric, version", "value"),
    )
    for table, keys, value in kinds:
        seen: dict[tuple[Any, ...], tuple[Any, _Source]] = {}
        for source in sources:
            rows = source.store.query(f"SELECT {keys}, {value} FROM {table}")
            different = 0
            earlier = source
            for *key, content in rows.itertuples(index=False, name=None):
                other = seen.setdefault(tuple(key), (content, source))
                equal = (
                    _same(content, other[0], _tolerance(source, other[1]))
                    if value == "value"
                    else (content or "") == (other[0] or "")
                )
                if other[1] is not source and not equal:
                    different, earlier = different + 1, other[1]
            if different:
                conflicts.append(
                    Conflict(f"{different} rows of {table}", earlier.name, source.name, f"{value} differs")
                )


def _tolerance(first: _Source, second: _Source) -> float:
    """Return how far scores of groups of cells may differ between two stores."""
    pairs = ((one, other) for one in first.environments for other in second.environments)
    return WITH_TRAINING if any(causes(one, other) for one, other in pairs) else TOLERANCE


def _write(
    partial: Path,
    sources: Sequence[_Source],
    cell_from: Mapping[str, _Source],
    tournament_from: Mapping[str, _Source],
    prefer: str | None,
) -> dict[str, int]:
    with contextlib.closing(duckdb.connect(str(partial))) as opened:
        opened.execute("SET python_enable_replacements = false")
        ordered = list(sources)
        for source in ordered:
            quoted = str(source.path).replace("'", "''")
            try:
                opened.execute(f"ATTACH '{quoted}' AS source_{source.number} (READ_ONLY)")
            except duckdb.Error as error:
                raise StoreError(
                    f"{source.path} cannot be read now ({str(error).splitlines()[0]}); wait until its run has finished."
                ) from error
        with schema.transaction(opened):
            for source in ordered:
                cells = [cell_id for cell_id, chosen in cell_from.items() if chosen is source]
                tournaments = [name for name, chosen in tournament_from.items() if chosen is source]
                for table in _OF_CELL:
                    _copy(opened, source, table, "cell_id IN (SELECT unnest(?::VARCHAR[]))", [cells])
                for table in _OF_TOURNAMENT:
                    _copy(opened, source, table, "tournament IN (SELECT unnest(?::VARCHAR[]))", [tournaments])
            # For rows with a key of their own, the first one stays, or with "newest" the later one.
            for table, keys, moment in (
                ("runs", ("run_id",), "started_at"),
                ("images", ("dataset", "index"), None),
                ("replies", ("judge", "prompt_version", "grid_a", "grid_b", "attempt"), "replied_at"),
                ("group_scores", ("group_id", "metric", "version"), "measured_at"),
            ):
                for source in ordered:
                    same = " AND ".join(f't."{key}" = s."{key}"' for key in keys)
                    if prefer == "newest" and moment is not None and _has(opened, source, table):
                        opened.execute(
                            f"DELETE FROM {table} t USING source_{source.number}.main.{table} s "
                            f'WHERE {same} AND s."{moment}" > t."{moment}"'
                        )
                    _copy(opened, source, table, f"NOT EXISTS (SELECT 1 FROM main.{table} t WHERE {same})", [])
        counts = {}
        for table in schema.current_columns():
            row = opened.execute(f"SELECT count(*) FROM main.{table}").fetchone()
            counts[table] = int(row[0]) if row else 0
        opened.execute("CHECKPOINT")
        return counts


def _has(opened: duckdb.DuckDBPyConnection, source: _Source, table: str) -> bool:
    return bool(_columns(opened, source, table))


def _columns(opened: duckdb.DuckDBPyConnection, source: _Source, table: str) -> list[str]:
    rows = opened.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = ? AND schema_name = 'main' AND table_name = ?",
        [f"source_{source.number}", table],
    ).fetchall()
    current = schema.current_columns()[table]
    return [row[0] for row in rows if row[0] in current]


def _copy(opened: duckdb.DuckDBPyConnection, source: _Source, table: str, where: str, params: list[Any]) -> None:
    """Copy rows of one table; an older store lacks tables and columns, which stay empty."""
    columns = _columns(opened, source, table)
    if columns:
        names = ", ".join(f'"{name}"' for name in columns)
        opened.execute(
            f"INSERT INTO main.{table} ({names}) SELECT {names} "
            f"FROM source_{source.number}.main.{table} s WHERE {where}",
            params,
        )


def _copy_artifacts(
    target: Path, sources: Sequence[_Source], cell_from: Mapping[str, _Source]
) -> tuple[int, list[str]]:
    copied, missing = 0, []
    copied_paths: set[Path] = set()
    for cell_id, source in cell_from.items():
        name = source.cells[cell_id]["artifact"]
        if not name:
            continue
        relative_path = Path(name)
        if relative_path.is_absolute() or ".." in relative_path.parts:
            raise StoreError(
                f"{source.path} names the artifact {name!r}, which does not lie beside it; nothing was written."
            )
        file, copy = source.path.parent / relative_path, target.parent / relative_path
        # Cells share a fit. Fits of one name from two machines differ at most in rounding: the first one stays.
        if relative_path in copied_paths:
            continue
        if not file.is_file():
            missing.append(str(file))
            continue
        copied_paths.add(relative_path)
        if not copy.exists() or not file.samefile(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            with partial_file(copy) as partial:
                shutil.copyfile(file, partial)
            copied += 1
    return copied, missing
