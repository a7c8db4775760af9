"""Board of a layer as a table: one number and a small interval per cell, and where each row came from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from results.app.queries import Record
from results.app.standings import ranks_of
from results.boards.board import Aggregate, Board, Column, Row
from results.boards.columns import is_detail
from results.boards.families import GROUP_HEADINGS, GROUPS
from results.boards.lead_columns import column_name, group_of, lead_of, position, unit_text
from results.boards.mean_intervals import confidence_interval
from results.boards.ranking import HEADLINE, is_ranked
from results.boards.share_intervals import SHARES_OF_IMAGES
from results.boards.value_text import absent_text, value_text
from results.comparison.row_errors import RowErrors
from results.minus_sign import with_minus
from results.short_number import short_number
from results.site.names import row_name
from results.site.sources import Sources
from results.site.texts import bounded, day

#: Columns that a newcomer sees first; the others are behind a switch.
_KEY_METRICS = (*HEADLINE[:1], "r2", "agreement", "win_rate", "stability", "expansion_factor", "fit_seconds")
#: Width of the bar of an interval, in px.
BAR_PX = 56.0
_MOST_COLUMNS, _MOST_ROWS = 60, 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """Value of the table.

    Attributes:
        text: as printed; why there is none otherwise.
        full: with all digits, its error and its unit.
        order: number to sort by; None comes last.
        mark: "best", "second" or "".
        bar: (low, mean, high) in px of the bar; None without an interval.
    """

    text: str
    full: str = ""
    order: float | None = None
    mark: str = ""
    bar: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heading:
    """Header of a column."""

    title: str
    unit: str
    arrow: str
    group: str
    explanation: str
    is_key: bool
    is_ascending: bool
    """true if the least value is the best one"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """Row of the table.

    Attributes:
        name: of the row, see `row_name`.
        rank: "1" or "1–3"; "" for a row that is not ranked.
        rank_order: to sort by.
        flags: name and sentence of each flag.
        method: registry name, for the colour of its mark.
        cells: a value per column.
        provenance: heading -> text of where the row came from.
    """

    name: str
    title: str
    rank: str
    rank_order: float | None
    flags: tuple[tuple[str, str], ...]
    method: str
    seeds: str
    cells: tuple[Cell, ...]
    provenance: Mapping[str, str]

    @property
    def page(self) -> str:
        """Path of its page from the root of the site."""
        return f"methods/{self.name}.html"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoardTable:
    """Table of one layer."""

    headings: tuple[Heading, ...]
    groups: tuple[tuple[str, tuple[Line, ...]], ...]
    """heading ("" for methods) and lines of each group"""
    ranked_by: str
    notes: tuple[str, ...]


def board_table(
    board: Board, errors: RowErrors, sources: Sources, cells_of: Mapping[str, Sequence[Record]]
) -> BoardTable:
    """Return the table of a board.

    Args:
        board: the board.
        errors: of its rows.
        sources: the stores.
        cells_of: name of a row (`row_name`) -> its cells, as of `queries.cells`.
    """
    columns = _columns(board)
    lead = next((c for metric in HEADLINE for c in board.columns if c.metric == metric), None)
    ranks = ranks_of(board.rows, lead, errors) if lead is not None else [None] * len(board.rows)
    scales = [_scale(board.rows, column) for column in columns]
    lines: dict[str, list[Line]] = {}
    for row, interval in list(zip(board.rows, ranks, strict=True))[:_MOST_ROWS]:
        name = row_name(board, row)
        rank, order = _rank(row, lead, interval)
        lines.setdefault(row.group, []).append(
            Line(
                name=name,
                title=row.title,
                rank=rank,
                rank_order=order,
                flags=tuple((flag.name, flag.sentence) for flag in row.flags),
                method=row.method,
                seeds=row.cell_count,
                cells=tuple(_cell(row, column, scale) for column, scale in zip(columns, scales, strict=True)),
                provenance=provenance(cells_of.get(name, ()), sources),
            )
        )
    groups = tuple((GROUP_HEADINGS.get(group, ""), tuple(lines[group])) for group in GROUPS if group in lines)
    return BoardTable(
        headings=tuple(_heading(column, lead) for column in columns),
        groups=groups,
        ranked_by=column_name(lead) if lead is not None else "",
        notes=board.notes[:40],
    )


def provenance(cells: Sequence[Record], sources: Sources) -> dict[str, str]:
    """Return where a row came from: store, revision, date, device."""
    stores = sources.stores_of([cell["cell_id"] for cell in cells])
    days = sorted({day(cell["started_at"]) for cell in cells} - {""})
    return {
        "store": ", ".join(stores),
        "code": _several(cell["code_revision"] for cell in cells),
        "date": days[-1] if days else "",
        "device": _several(" ".join(filter(None, (cell["device"], cell["dtype"]))) for cell in cells),
    }


def _several(values: object) -> str:
    texts = sorted({bounded(value, 60) for value in values if value})  # type: ignore[attr-defined]
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _columns(board: Board) -> list[Column]:
    measured = [column for column in board.columns if any(column.key in row.metrics for row in board.rows)]
    return sorted(measured, key=lambda column: (is_detail(column), position(column)))[:_MOST_COLUMNS]


def _heading(column: Column, lead: Column | None) -> Heading:
    presented = lead_of(column)
    return Heading(
        title=column_name(column),
        unit=unit_text(column),
        arrow=column.arrow.strip(),
        group=group_of(column),
        explanation=presented.explanation if presented else "",
        is_key=column is lead or (column.metric in _KEY_METRICS and not is_detail(column)),
        is_ascending=column.direction == "lower",
    )


def _rank(row: Row, lead: Column | None, interval: tuple[int, int] | None) -> tuple[str, float | None]:
    aggregate = row.metrics.get(lead.key) if lead is not None else None
    if lead is None or aggregate is None or aggregate.rank is None or not is_ranked(row, lead):
        return "", None
    low, high = interval or (aggregate.rank, aggregate.rank)
    low, high = min(low, aggregate.rank), max(high, aggregate.rank)
    return (str(low) if low == high else f"{low}–{high}"), float(aggregate.rank)


def _cell(row: Row, column: Column, scale: tuple[float, float] | None) -> Cell:
    aggregate = row.metrics.get(column.key)
    if aggregate is None:
        return Cell(text=absent_text(row, column).replace("-", "–"))
    factor = 100.0 if column.unit == "fraction" else 1.0
    value = aggregate.mean * factor
    interval = interval_of(row, column, aggregate)
    unit = unit_text(column)
    full = value_text(row, column, observations=True, ranked=False) + (f" {unit}" if unit else "")
    if interval is not None:
        full += f", 95 % interval {column.text(interval[0])} to {column.text(interval[1])}"
    bar = None
    if scale is not None and interval is not None:
        low, high = scale
        ends = [
            BAR_PX * (min(max(end, low), high) - low) / (high - low)
            for end in (interval[0], aggregate.mean, interval[1])
        ]
        bar = (ends[0], ends[1], ends[2])
    return Cell(text=short_number(value), full=with_minus(full), order=value, mark=aggregate.mark or "", bar=bar)


def interval_of(row: Row, column: Column, aggregate: Aggregate) -> tuple[float, float] | None:
    """Return the 95 % interval of a row's mean; None for one seed, for costs, and for what holds by construction."""
    if group_of(column) == "cost":
        return None  # repeated on another machine, a time has another mean
    interval = confidence_interval(aggregate, is_share=column.metric in SHARES_OF_IMAGES)
    is_one_seed = aggregate.n < 2 and aggregate.interval is None
    if interval is None or is_one_seed or not all(map(math.isfinite, interval)):
        return None
    return None if row.is_lossless and column.metric == "agreement" and aggregate.mean == 1 else interval


def _scale(rows: Sequence[Row], column: Column) -> tuple[float, float] | None:
    """Return the ends of the common scale of a column's bars; None if no row has an interval."""
    # A flagged row may be far away from all others.
    usual = [row for row in rows if not row.flags] or rows
    ends = [
        end
        for row in usual
        if (aggregate := row.metrics.get(column.key)) is not None
        for end in (interval_of(row, column, aggregate) or (aggregate.mean,))
    ]
    has_interval = len(ends) > sum(column.key in row.metrics for row in usual)
    if not has_interval or not max(ends) > min(ends):
        return None
    return min(ends), max(ends)
