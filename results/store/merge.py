"""Merge of several stores: measurements of several machines, each cell once, conflicts refused."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from results.atomic import partial_file
from results.errors import StoreError
from results.location import require_location
from results.people.merging import unite_votes
from results.store import Store, connection, schema
from results.store.artifacts import FOLDER, artifact_file
from results.store.cell_rows import CELL_TABLES
from results.store.database import open_database
from results.store.environments import BOUNDED_UNITS, WITH_TRAINING, causes, expected_difference
from results.store.labels import ADDED_METRICS
from results.store.merge_explanations import ROWS, SCORES, Explained, choose_explanations, delete_others
from results.store.merge_sources import TOLERANCE, Conflict, ScoreKey, Source, same, time_of
from results.store.merge_tournaments import ChosenTournaments, choose_tournaments
from results.store.records import bindable
from results.store.store import require_results
from results.store.text_limits import cut

PREFER = ("first", "newest")


#: Computes the win rates of tournaments of a store again.
Rescore = Callable[[Store, Sequence[str]], object]


class _Keyed(NamedTuple):
    """Table whose rows are merged one by one."""

    keys: tuple[str, ...]
    moment: str | None
    """column with the time of a row"""
    where: str = "true"
    """condition of the rows `s` that are merged so"""


_OF_FINISHED = "s.cell_id IN (SELECT cell_id FROM main.cells WHERE status = 'finished')"
#: A label is of a unit by its number, which means another unit in another fit of the cell.
_SAME_FIT = "s.cell_id IN (SELECT cell_id FROM same_fit)"
_ADDED = f"s.panel IS NOT NULL OR (s.metric IN ({', '.join(map(repr, ADDED_METRICS))}) AND {_SAME_FIT})"
_KEYED = {
    "runs": _Keyed(("run_id",), "started_at"),
    "images": _Keyed(("dataset", "index"), None),
    "replies": _Keyed(("judge", "prompt_version", "grid_a", "grid_b", "attempt"), "replied_at"),
    "group_scores": _Keyed(("group_id", "metric", "version"), "measured_at"),
    # Judges are asked after a cell is measured, maybe on another machine, and units are labelled and steered after it:
    # what these add is taken from any store.
    "scores": _Keyed(("cell_id", "metric", "version", "params_hash"), None, f"({_ADDED}) AND {_OF_FINISHED}"),
    # Before the table with the key: the labels of one labelling come from one store.
    "unit_labels": _Keyed(("cell_id", "labelling"), None, f"{_OF_FINISHED} AND {_SAME_FIT}"),
    "labellings": _Keyed(("cell_id", "labelling"), None, f"{_OF_FINISHED} AND {_SAME_FIT}"),
    "steerings": _Keyed(("cell_id", "steering"), None, f"{_OF_FINISHED} AND {_SAME_FIT}"),
    "explanations": _Keyed(("cell_id", "unit", "judge", "prompt_version", "images"), None, _OF_FINISHED),
}


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
    votes: int
    """number of votes of people that were added to those beside the merged store"""


class MergeConflict(StoreError):
    """The stores contradict each other; nothing was written."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        listed = "\n".join(f"  {conflict}" for conflict in conflicts[:20])
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
    titles: Mapping[Path, str] | None = None,
    rescore: Rescore | None = None,
) -> Merged:
    """Write the store `out` with the content of all `inputs`, atomically.

    A cell that several stores have is taken once. If its scores differ beyond rounding, that is a conflict. Between two
    environments larger differences count as rounding. Differences in times and memory, which depend on the machine, are
    not conflicts, and a finished cell takes precedence over a failed one. Scores of judge panels, of labels and
    of steering are no part of that comparison: one that only one store has is taken from there, else the first.

    Votes of people are united: the files beside the stores, and the replies, of which the newest one counts. Their
    tournaments are then to be scored again.

    Args:
        out: the new store.
        inputs: two or more stores, of any schema version this program reads.
        prefer: "first" or "newest" decides conflicts; None refuses them.
        artifacts: also copy the files that cells name, to the same relative path beside `out`.
        overwrite: `out` may exist (it may be one of the inputs); otherwise it is refused.
        titles: input -> its name in conflicts, for stores that were made from something else; one of them suffices.
        rescore: called with the merged store, before it takes its name, and the tournaments to score again; needed if
            there are votes of people.

    Raises:
        MergeConflict: the stores contradict each other, and `prefer` is None.
        StoreError: votes of people without ``rescore``, fewer than two stores,
            an input that cannot be read, or a path that cannot be written.
    """
    target = Path(out).expanduser().absolute()
    paths = [Path(path).expanduser().absolute() for path in inputs]
    if prefer is not None and prefer not in PREFER:
        raise StoreError(f"Conflicts cannot be decided by {prefer!r}; it is one of {', '.join(PREFER)}.")
    if len(set(paths)) < 2 and not titles:
        raise StoreError(
            "A merge needs two or more different stores (harness merge OUT IN1 IN2), or a folder of submitted results."
        )
    # Also if it is to be replaced: what is there must be a store.
    require_location(out)
    if target.exists() and not overwrite:
        raise StoreError(f"{target} exists; name another file, or say --overwrite.")
    sources = [
        Source(number, path, (titles or {}).get(path, str(path))) for number, path in enumerate(dict.fromkeys(paths))
    ]
    for source in sources:
        require_results(source.path)
    conflicts: list[Conflict] = []
    rounded: Counter[str] = Counter()
    cell_from, duplicates = _cells(sources, prefer, conflicts, rounded)
    tournaments = choose_tournaments(sources, prefer, conflicts)
    explained = choose_explanations(sources, prefer, conflicts)
    _replies_and_images(sources, tournaments.voters, conflicts)
    if conflicts and prefer is None:
        raise MergeConflict(conflicts)
    connection.make_folder(target)
    try:
        with partial_file(target) as partial:
            schema.create(partial)
            _write(partial, sources, cell_from, tournaments, explained, prefer)
            if tournaments.joined:
                if rescore is None:
                    raise StoreError(
                        "The stores have votes of people, which are to be scored together: merge them with "
                        "`harness merge`."
                    )
                rescore(Store(partial, read_only=False), list(tournaments.joined))
            rows = _counts(partial)
            copied, missing = _copy_artifacts(target, cell_from) if artifacts else (0, [])
            votes = unite_votes(target.parent, [source.path.parent for source in sources])
    except (OSError, duckdb.Error) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise StoreError(f"The merged store {target} cannot be written ({reason}).") from error
    return Merged(target, rows["cells"], duplicates, dict(rounded), conflicts, rows, copied, missing, votes)


def _cells(
    sources: Sequence[Source], prefer: str | None, conflicts: list[Conflict], rounded: Counter[str]
) -> tuple[dict[str, Source], int]:
    """Return the store that each cell is taken from, and the number of cells in several stores."""
    chosen: dict[str, Source] = {}
    duplicates = set()
    for source in sources:
        for cell_id, cell in source.cells.items():
            earlier = chosen.setdefault(cell_id, source)
            if earlier is source:
                continue
            duplicates.add(cell_id)
            other = earlier.cells[cell_id]
            is_newer = time_of(cell["started_at"]) > time_of(other["started_at"])
            if cell["status"] != other["status"]:
                chosen[cell_id] = source if cell["status"] == "finished" else earlier
            elif cell["status"] == "failed":
                chosen[cell_id] = source if is_newer else earlier
            elif why := _difference(earlier.values(cell_id), source.values(cell_id)):
                bounded, other_bounded = (store.values(cell_id, BOUNDED_UNITS) for store in (source, earlier))
                differing = causes(other["environment"], cell["environment"])
                if differing and not _difference(other_bounded, bounded, expected_difference(cell["claims"])):
                    rounded.update(differing)
                    continue
                title = f"cell {cell_id} ({cell['label']} at {cell['backbone']} {cell['site']})"
                conflicts.append(Conflict(title, earlier.title, source.title, why))
                chosen[cell_id] = source if prefer == "newest" and is_newer else earlier
    return chosen, len(duplicates)


def _difference(
    first: Mapping[ScoreKey, float | None], second: Mapping[ScoreKey, float | None], tolerance: float = TOLERANCE
) -> str:
    for key in sorted({*first, *second}, key=str):
        name = f"{key[0]}@{key[1]}"
        if (key in first) != (key in second):
            return f"{name} is only in {'the first' if key in first else 'the second'}"
        if not same(first[key], second[key], tolerance):
            return f"{name} is {first[key]} and {second[key]}"
    return ""


def _replies_and_images(sources: Sequence[Source], voters: set[str], conflicts: list[Conflict]) -> None:
    """Collect conflicts: replies to the same question with another answer, and indices of another image.

    Replies of ``voters`` are none, since a person may vote again.
    """
    for table, value in (("replies", "answer"), ("images", "name"), ("group_scores", "value")):
        keys = ", ".join(f'"{key}"' for key in _KEYED[table].keys)
        seen: dict[tuple[Any, ...], tuple[Any, Source]] = {}
        for source in sources:
            different = []
            rows = source.store.query(f"SELECT {keys}, {value} FROM {table}")
            if table == "replies":
                rows = rows[~rows["judge"].isin(voters)]
            for *key, content in rows.itertuples(index=False, name=None):
                other_content, other = seen.setdefault(tuple(key), (content, source))
                if table == "group_scores":
                    equal = same(content, other_content, _tolerance(source, other))
                else:
                    equal = (content or "") == (other_content or "")
                if other is not source and not equal:
                    different.append(other)
            if different:
                title, first = f"{len(different)} rows of {table}", different[-1].title
                conflicts.append(Conflict(title, first, source.title, f"{value} differs"))


def _tolerance(first: Source, second: Source) -> float:
    """Return how far scores of groups of cells may differ between two stores."""
    pairs = itertools.product(first.environments, second.environments)
    return WITH_TRAINING if any(causes(*pair) for pair in pairs) else TOLERANCE


def _write(
    partial: Path,
    sources: Sequence[Source],
    cell_from: Mapping[str, Source],
    tournaments: ChosenTournaments,
    explained: Sequence[Explained],
    prefer: str | None,
) -> None:
    """Write the merged store."""
    files = [source.path for source in sources]
    with contextlib.closing(open_database(partial, other_files=files)) as opened:
        for source in sources:
            require_location(source.path)
            name = str(source.path).replace("'", "''")
            try:
                opened.execute(f"ATTACH '{name}' AS {source.catalog} (READ_ONLY)")
                # It was checked when it was read, and may have been replaced since.
                schema.stored_version(opened, source.path, source.catalog)
            except duckdb.Error as error:
                raise StoreError(
                    f"{source.path} cannot be read now ({str(error).splitlines()[0]}); wait until its run has finished."
                ) from error
        columns_of = {source.catalog: schema.stored_columns(opened, source.catalog) for source in sources}
        with schema.transaction(opened):
            for source in sources:
                columns = columns_of[source.catalog]
                for tables, key, chosen in (
                    (CELL_TABLES, "cell_id", cell_from),
                    (("tournaments", "win_rates", "comparisons"), "tournament", tournaments.sources),
                ):
                    names = [name for name, chosen_source in chosen.items() if chosen_source is source]
                    for table in tables:
                        _copy(opened, source, table, columns, f"{key} IN (SELECT unnest(?::VARCHAR[]))", [names])
            # For rows with a key of their own, the first one stays, or with "newest" the later one.
            opened.execute("CREATE TEMPORARY TABLE same_fit (cell_id VARCHAR)")
            for table, (keys, moment, where) in _KEYED.items():
                equal = " AND ".join(f't."{key}" = s."{key}"' for key in keys)
                for source in sources:
                    columns = columns_of[source.catalog]
                    opened.execute("DELETE FROM same_fit")
                    opened.execute("INSERT INTO same_fit SELECT unnest(?::VARCHAR[])", [_same_fits(source, cell_from)])
                    voters = sorted(tournaments.voters) if table == "replies" and prefer != "newest" else []
                    if (prefer == "newest" or voters) and moment and table in columns:
                        opened.execute(
                            f"DELETE FROM {table} t USING {source.catalog}.main.{table} s "
                            f'WHERE {equal} AND s."{moment}" > t."{moment}"'
                            + (" AND t.judge IN (SELECT unnest(?::VARCHAR[]))" if voters else ""),
                            [voters] if voters else [],
                        )
                    missing = f"NOT EXISTS (SELECT 1 FROM main.{table} t WHERE {equal})"
                    _copy(opened, source, table, columns, f"{where} AND {missing}", [])
            for one in explained:
                columns = columns_of[one.source.catalog]
                of_scores, of_rows = delete_others(opened, one)
                _copy(opened, one.source, "scores", columns, f"{_OF_FINISHED} AND {SCORES}", of_scores)
                _copy(opened, one.source, "explanations", columns, f"{_OF_FINISHED} AND {ROWS}", of_rows)
            for tournament, judges in tournaments.joined.items():
                opened.execute("UPDATE tournaments SET judges = ? WHERE tournament = ?", [bindable(judges), tournament])
        opened.execute("CHECKPOINT")


def _same_fits(source: Source, cell_from: Mapping[str, Source]) -> list[str]:
    """Return the cells of a store whose scores are those of the store that they are taken from."""
    return [
        cell_id
        for cell_id in source.cells
        if (chosen := cell_from[cell_id]) is source or not _difference(chosen.values(cell_id), source.values(cell_id))
    ]


def _counts(path: Path) -> dict[str, int]:
    """Return table -> number of rows."""
    store = Store(path)
    return {table: int(store.query(f"SELECT count(*) AS n FROM {table}")["n"][0]) for table in schema.current_columns()}


def _copy(
    opened: duckdb.DuckDBPyConnection,
    source: Source,
    table: str,
    columns_of: Mapping[str, Mapping[str, str]],
    where: str,
    params: list[Any],
) -> None:
    """Copy rows of one table; an older store lacks tables and columns, which stay empty."""
    names = ", ".join(f'"{name}"' for name in columns_of.get(table, {}) if name in schema.current_columns()[table])
    if names:
        opened.execute(
            f"INSERT INTO main.{table} ({names}) SELECT {names} FROM {source.catalog}.main.{table} s WHERE {where}",
            params,
        )


def _copy_artifacts(target: Path, cell_from: Mapping[str, Source]) -> tuple[int, list[str]]:
    """Copy the files that cells name, and return the number of copied files and the missing ones."""
    copied, missing = 0, []
    copied_paths: set[Path] = set()
    for cell_id, source in cell_from.items():
        name = source.cells[cell_id]["artifact"]
        if not name:
            continue
        relative_path = Path(name)
        file = artifact_file(source.path.parent, name)
        if file is None:
            raise StoreError(
                f"{source.path} names the artifact {cut('artifact', name)!r}, which does not lie in {FOLDER}/ beside "
                "it; nothing was written."
            )
        # Cells share a fit. Fits of one name from two machines differ at most in rounding: the first one stays.
        if relative_path in copied_paths:
            continue
        copy = target.parent / relative_path
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
