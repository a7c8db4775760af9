"""Queries of the units of a cell: the pages of the gallery, and what stands around one unit.

To sort units by a number, a query must not read all lists of top images of a cell: DuckDB reads only the columns of the
inner query, and the lists of the few remaining rows. A store from anyone can have one unit many times: each is joined
with one row only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from results.app.queries import Records, records
from results.store import Store
from results.store.class_labels import TOP
from results.store.labels import LEVEL

#: Top images that decide which units are near one another.
NEAR_TOP = 20

# Sort orders: title -> (column of `cell_units`, descending).
SORTS: Mapping[str, tuple[str, bool]] = {
    "MS score, high first": ("ms_score", True),
    "MS score, low first": ("ms_score", False),
    "MS minus chance, high first": ("above_chance", True),
    "gain over the parent, high first": ("gain", True),
    "gain over the parent, low first": ("gain", False),
    "unit overlap, high first": ("redundancy", True),
    "unit overlap, low first": ("redundancy", False),
    "number": ("unit", False),
}

#: Filters: name -> condition on `cell_units`.
FILTERS: Mapping[str, str] = {
    "alive": "alive",
    "CLS units": "prefix_part > 0.5",
    "patch units": "prefix_part <= 0.5",
    "split units": "n_siblings > 1",
    "with heat map": "unit IN (SELECT unit FROM unit_maps WHERE cell_id = $cell AND side > 0)",
    "favourites": "unit IN (SELECT unnest($favourites::INTEGER[]))",
}


_PARAMETER = re.compile(r"\$([a-z]+)")


class UnitList(NamedTuple):
    """Units of a cell in the order of the gallery."""

    cell_id: str
    reference: str | None
    """cell with the parents; None if the units have none"""
    sort: str = next(iter(SORTS))
    """one of `SORTS`"""
    filters: Sequence[str] = ("alive",)
    """names in `FILTERS`: a unit passes all of them"""
    search: str = ""
    """text in the class or file name of one of the `TOP` images, or the unit's number; "": no search"""
    favourites: Sequence[int] = ()
    """units of the filter of this name"""
    fingerprint: str | None = None
    """of the images that are searched"""
    concept: str = ""
    """words, each a part of the best label of one scorer's newest labels; "": any unit"""


def unit_summary(store: Store, cell_id: str) -> dict[str, Any]:
    """Return the numbers of a cell's units (all, alive, scored, sub-units), and the columns that are present."""
    frame = store.query(
        "SELECT count(*) AS n, count(*) FILTER (alive) AS n_alive, "
        "count(*) FILTER (NOT isnan(ms_score)) AS n_scored, "
        "count(parent) AS n_with_parent, count(DISTINCT parent) AS n_parents, count(redundancy) AS n_redundancy, "
        "count(*) FILTER (NOT isnan(ms_score_token_null)) AS n_chance, "
        "count(*) FILTER (NOT isnan(prefix_share)) AS n_share, "
        "count(*) FILTER (prefix_share > 0.5 AND NOT isnan(prefix_share)) AS n_prefix, "
        "max(unit) AS last FROM units WHERE cell_id = ?",
        [cell_id],
    )
    return records(frame)[0]


def unit_page(store: Store, units: UnitList, *, limit: int = 12, offset: int = 0) -> pd.DataFrame:
    """Return some units of a list with all their columns, `parent_score`, `gain`, `matches` and `total`.

    `matches` is the number of top images that a search found, `total` the length of the whole list. Units that match in
    more images come first, then the order of the list; units without the number sorted by come last. In a search for a
    concept, units whose label is above its null come before all others.
    """
    sql, params = _selected(units)
    sql = f"""
        {sql}, page AS (
            SELECT *, count(*) OVER () AS total FROM selected ORDER BY {_order(units)} LIMIT $limit OFFSET $offset
        )
        SELECT page.*, top_image, top_position, top_value FROM page JOIN (
            SELECT unit, first(top_image) AS top_image, first(top_position) AS top_position,
                   first(top_value) AS top_value
            FROM units WHERE cell_id = $cell AND unit IN (SELECT unit FROM page) GROUP BY unit
        ) USING (unit) ORDER BY {_order(units)}
    """
    return _query(store, sql, params | {"limit": limit, "offset": offset})


def unit_place(store: Store, units: UnitList, unit: int) -> dict[str, Any] | None:
    """Return the place of a unit in a list (from 1), `total`, and the units `before` and `after`; None if not in it."""
    sql, params = _selected(units)
    sql = f"""
        {sql}, placed AS (
            SELECT unit, row_number() OVER ordered AS place, count(*) OVER () AS total,
            lag(unit) OVER ordered AS before, lead(unit) OVER ordered AS after
            FROM selected WINDOW ordered AS (ORDER BY {_order(units)})
        ) SELECT * FROM placed WHERE unit = $unit ORDER BY place LIMIT 1
    """
    return next(iter(records(_query(store, sql, params | {"unit": int(unit)}))), None)


def near_units(store: Store, cell_id: str, unit: int, limit: int = 4) -> Records:
    """Return the units of a cell that share most of their `NEAR_TOP` top images with a unit: `shared`, and all columns.

    Units that share none are left out.
    """
    sql = """
        WITH wanted AS (SELECT DISTINCT unnest(top_image[:$top]) AS image FROM units
            WHERE cell_id = $cell AND unit = $unit),
        near AS (SELECT unit, count(*) AS shared FROM
            (SELECT unit, unnest(top_image[:$top]) AS image FROM units
             WHERE cell_id = $cell AND alive AND unit <> $unit)
            WHERE image IN (SELECT image FROM wanted) GROUP BY unit ORDER BY shared DESC, unit LIMIT $limit)
        SELECT u.* EXCLUDE (cell_id), shared FROM units u JOIN near USING (unit)
        WHERE cell_id = $cell AND u.unit IN (SELECT unit FROM near) ORDER BY shared DESC, unit LIMIT $limit
    """
    return records(_query(store, sql, {"cell": cell_id, "unit": int(unit), "top": NEAR_TOP, "limit": limit}))


def class_counts(store: Store, fingerprint: str | None) -> dict[str, int]:
    """Return class name -> number of its images in a set; "" for images without a class."""
    frame = store.query(
        "SELECT coalesce(class_name, '') AS class, count(*) AS n FROM images WHERE dataset = ? GROUP BY ALL ORDER BY 1",
        [fingerprint],
    )
    return {str(name): int(count) for name, count in frame.itertuples(index=False, name=None)}


def _selected(units: UnitList) -> tuple[str, dict[str, Any]]:
    """Return the query that begins with the table `selected` of a list's units, without their lists of top images."""
    params: dict[str, Any] = {"cell": units.cell_id, "reference": units.reference}
    conditions = [FILTERS[name] for name in units.filters]
    if "favourites" in units.filters:
        params["favourites"] = list(units.favourites)
    search, join = "", ""
    if units.search:
        params |= {"search": units.search.casefold(), "fingerprint": units.fingerprint, "top": TOP}
        # Image names are compared once, not once per unit.
        search = """images_found AS (
            SELECT "index" AS image FROM images WHERE dataset = $fingerprint
            AND (contains(lower(class_name), $search) OR contains(lower(name), $search))
        ), units_found AS (
            SELECT unit, count(*) AS matches FROM
            (SELECT unit, unnest(top_image[:$top]) AS image, unnest(top_value[:$top]) AS value FROM units
             WHERE cell_id = $cell)
            WHERE image IN (SELECT image FROM images_found) AND value > 0 GROUP BY unit
        ),"""
        join = "LEFT JOIN units_found USING (unit)"
        conditions.append("(matches > 0 OR unit::VARCHAR = $search)")
    labels, label_join, above = "", "", "false"
    if units.concept:
        params |= {"words": units.concept.lower().split(), "level": LEVEL}
        labels, label_join, above = _LABELS_FOUND, "JOIN labels_found USING (unit)", "label_above"
    matches = "coalesce(matches, 0)" if units.search else "0"
    # An older store has no share of maxima at prefix tokens: it follows from the positions, which are read only then.
    # NaN counts as missing: DuckDB sorts it above every number.
    sql = f"""
        WITH {search} {labels} cell_units AS (
            SELECT u.* EXCLUDE (cell_id, ms_score, top_image, top_position, top_value),
                   nullif(u.ms_score, 'NaN') AS ms_score, nullif(p.ms_score, 'NaN') AS parent_score,
                   coalesce(nullif(u.ms_score - u.ms_score_token_null - p.ms_score + p.chance, 'NaN'),
                            nullif(u.ms_score - p.ms_score, 'NaN')) AS gain,
                   nullif(u.ms_score - u.ms_score_token_null, 'NaN') AS above_chance,
                   {_PREFIX_PART if {"CLS units", "patch units"} & set(units.filters) else "NULL"} AS prefix_part,
                   {"count(*) OVER (PARTITION BY u.parent)" if "split units" in units.filters else "0"} AS n_siblings
            FROM units u LEFT JOIN (
                SELECT unit, first(ms_score) AS ms_score, first(ms_score_token_null) AS chance FROM units
                WHERE cell_id = $reference GROUP BY unit
            ) p ON p.unit = u.parent WHERE u.cell_id = $cell
        ), selected AS (
            SELECT cell_units.*, {matches} AS matches, {above} AS label_above FROM cell_units {join} {label_join}
            {f"WHERE {' AND '.join(conditions)}" if conditions else ""}
        )
    """
    return sql, params


#: Units whose best label by a scorer, in its newest labels, has all words; label_above: one of these is above its null.
_LABELS_FOUND = """labels_found AS (
    SELECT unit, bool_or(coalesce(p_value <= $level, false)) AS label_above FROM unit_labels
    WHERE cell_id = $cell AND rank = 1 AND labelling IN (
        SELECT labelling FROM labellings WHERE cell_id = $cell
        QUALIFY row_number() OVER (PARTITION BY scorer ORDER BY labelled_at DESC, labelling) = 1
    ) AND list_bool_and(list_transform($words::VARCHAR[], lambda word: contains(lower(label), word))) GROUP BY unit
),"""

_PREFIX_PART = (
    "coalesce(nullif(u.prefix_share, 'NaN'), "
    "len(list_filter(u.top_position, lambda x: x < 0)) / nullif(len(u.top_position), 0))"
)


def _order(units: UnitList) -> str:
    column, descending = SORTS[units.sort]
    return f"label_above DESC, matches DESC, {column} {'DESC' if descending else 'ASC'} NULLS LAST, unit"


def _query(store: Store, sql: str, params: Mapping[str, Any]) -> pd.DataFrame:
    """Run a query with named parameters, of which it may leave some out: the store takes numbered ones."""
    names = sorted(set(_PARAMETER.findall(sql)))
    numbered = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", sql)
    return store.query(numbered, [params[name] for name in names])
