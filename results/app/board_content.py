"""Content of the leaderboard's table: sections, ranks, and per cell one number with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from results.app.bar_scale import BarScale, bar_scale, is_beyond
from results.app.board_table import Badge, BoardTable, Header, LegendEntry, Section, TableCell, TableRow
from results.app.column_standing import ColumnStanding, Standings
from results.app.panels import PROXY, PROXY_MEANING
from results.app.seed_range import spread_name
from results.app.sorting import FAILED, SECTIONS, Sorting, default_column, section_of
from results.app.titles import DIRECTIONS, visible
from results.boards.board import Board, Column, Row
from results.boards.lead_columns import column_name, judged_by, lead_of, unit_text
from results.boards.panel_kind import is_proxy
from results.boards.ranking import BY_CONSTRUCTION, is_ranked
from results.boards.value_text import absent_text, observed
from results.minus_sign import with_minus
from results.pictures.theme import marks
from results.short_number import short_number

_PATHS: Mapping[str, str] = {
    "circle": "M-1,0A1,1 0 1,0 1,0A1,1 0 1,0 -1,0Z",
    "square": "M-.9,-.9H.9V.9H-.9Z",
    "diamond": "M0,-1.1L1,0L0,1.1L-1,0Z",
    "cross": "M-.35,-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
    "triangle-up": "M0,-1L1,.85H-1Z",
    "triangle-down": "M0,1L1,-.85H-1Z",
    "triangle-left": "M-1,0L.85,-1V1Z",
    "triangle-right": "M1,0L-.85,-1V1Z",
}
NONE = "–"
#: Kind of a sign (see `board_table.js`) -> its meaning, in the order of the legend.
_SIGNS: Mapping[str, str] = {
    "best": "best without a flag",
    "tied": "may be the first (95 %)",
    "bar": "mean and 95 % interval (times: range over seeds)",
    "beyond": "beyond the scale",
    "given": "true by construction, not ranked",
    "better": "higher, lower is better",
}


class RankText(NamedTuple):
    """Rank of a row, and the same in words."""

    text: str
    help: str


def leaderboard_table(
    board: Board, standings: Standings, columns: Mapping[str, Sequence[Column]], sorting: Sorting
) -> BoardTable:
    """Return the table of a board.

    Args:
        board: the board.
        standings: of its rows.
        columns: group -> its visible columns, in order.
        sorting: order of the rows; the ranks are those in its column.
    """
    grouped = [(group, column) for group, members in columns.items() for column in members]
    cells: list[list[TableCell]] = [[] for _ in board.rows]
    headers = []
    for group, column in grouped:
        standing = standings.of(column)
        scale = _scale(board.rows, column, standing)
        headers.append(_header(board, column, group, scale))
        for of_row, cell in zip(cells, _cells(board, column, standing, scale), strict=True):
            of_row.append(cell)
    for row, of_row in zip(board.rows, cells, strict=True):
        of_row.append(TableCell(text=row.cell_count))
    headers.append(Header(title="Seeds", help="Cells in the means, one per token seed and initialisation seed"))
    ranked_by = rank_column(board, sorting)
    name = visible(column_name(ranked_by)) if ranked_by else "the first metric"
    return BoardTable(
        caption=f"Leaderboard of {visible(board.layer_title)}, sorted by {_sorted_by(sorting)}.",
        headers=headers,
        sections=sections(board.rows, sorting.indices(board.rows), rank_texts(board, standings, ranked_by), cells),
        sorted_by=sorting.column.key if sorting.column else "",
        order=sorting.order,
        rank_help=f"Rank in {name}, or the range of ranks that the errors allow (95 %)",
        legend=_legend([cell for of_row in cells for cell in of_row], [column for _, column in grouped]),
    )


def _legend(cells: Sequence[TableCell], columns: Sequence[Column]) -> list[LegendEntry]:
    """Return the meaning of the signs that a table has."""
    bars = [cell.bar for cell in cells if cell.bar]
    occurs = {
        "best": any(cell.is_best for cell in cells),
        "tied": any(cell.is_tied for cell in cells),
        "bar": bool(bars),
        "beyond": any(is_beyond(mean) for _, mean, _ in bars),
        "given": any(cell.is_given for cell in cells),
        "better": any(column.arrow for column in columns),
    }
    return [LegendEntry(kind=kind, text=text) for kind, text in _SIGNS.items() if occurs[kind]]


def _scale(rows: Sequence[Row], column: Column, standing: ColumnStanding) -> BarScale | None:
    """Return the scale of a column's bars; virtual methods, which may be far from all others, do not widen it."""
    spans = [(row, span) for row, span in zip(rows, standing.spans, strict=True) if span]
    compared = [span for row, span in spans if row.group != "virtual"] or [span for _, span in spans]
    most = 100.0 if column.unit == "fraction" else math.inf
    return bar_scale([value for span in compared for value in span], most)


def rank_column(board: Board, sorting: Sorting) -> Column | None:
    """Return the column whose ranks are shown: that of the sorting, or the default one if it has no direction."""
    column = sorting.column
    return column if column is not None and column.direction != "none" else default_column(board)


def rank_spans(board: Board, standings: Standings, column: Column | None) -> list[tuple[int, int] | None]:
    """Return the range of each row's rank in a column; it includes the rank of the mean. None without a rank."""
    if column is None:
        return [None] * len(board.rows)
    spans: list[tuple[int, int] | None] = []
    for row, drawn in zip(board.rows, standings.of(column).ranks, strict=True):
        aggregate = row.metrics.get(column.key)
        if aggregate is None or aggregate.rank is None:
            spans.append(None)
        else:
            low, high = drawn or (aggregate.rank, aggregate.rank)
            spans.append((min(low, aggregate.rank), max(high, aggregate.rank)))
    return spans


def rank_texts(board: Board, standings: Standings, column: Column | None) -> list[RankText]:
    """Return the rank of each row in a column."""
    texts = []
    for row, span in zip(board.rows, rank_spans(board, standings, column), strict=True):
        if span is None:
            texts.append(RankText(NONE, _why_not_ranked(row, column)))
        else:
            low, high = span
            words = f"rank {low}" if low == high else f"rank {low} to {high}: not told apart from rows in this range"
            texts.append(RankText(span_text(span), words))
    return texts


def span_text(span: tuple[int, int]) -> str:
    """Return a range of ranks: "1" or "1–2"."""
    return NONE.join(str(end) for end in dict.fromkeys(span))


def sections(
    rows: Sequence[Row], order: Sequence[int], ranks: Sequence[RankText], cells: Sequence[Sequence[TableCell]]
) -> list[Section]:
    """Return the sections of a table, with the rows in `order` within each."""
    styles = marks([row.method for row in rows])
    members: dict[str, list[TableRow]] = {key: [] for key in SECTIONS}
    for index in order:
        row = rows[index]
        style = styles[row.method]
        members[section_of(row)].append(
            TableRow(
                cell_id=row.cell_ids[0],
                title=visible(row.title),
                link=f"method?{urlencode({'cell': row.cell_ids[0]})}",
                colour=style.colour,
                symbol=_PATHS.get(style.symbol, style.symbol),
                rank=ranks[index].text,
                rank_help=ranks[index].help,
                badges=[Badge(name=flag.name, sentence=visible(flag.sentence)) for flag in row.flags],
                cells=cells[index],
            )
        )
    return [
        Section(heading=heading, rows=members[key], is_muted=key in ("control", FAILED))
        for key, heading in SECTIONS.items()
        if members[key]
    ]


def explanation(board: Board, column: Column) -> str:
    """Return what a column measures, its direction and what holds for all its values; "" if nothing is known."""
    lead = lead_of(column)
    kind, count = observed(board.rows, column)
    parts = [lead.explanation if lead else "", DIRECTIONS[column.direction] if column.direction != "none" else ""]
    parts += [f"over {count} {kind}"] if kind and count is not None else []
    parts.append(judged_by(column))
    if column.panel_agreement is not None:
        parts.append(with_minus(f"panel agreement {column.panel_agreement:.2f}"))
    if column.panel_at_chance:
        parts.append(f"judges at chance, not ranked: {column.panel_at_chance}")
    if is_proxy(column.panel):
        parts.append(f"{PROXY}: {PROXY_MEANING}".removesuffix("."))
    return "; ".join(part for part in parts if part)


def _panel_badge(column: Column) -> Badge | None:
    if column.panel_at_chance:
        name = f"{PROXY} at chance" if is_proxy(column.panel) else "judges at chance"
        meaning = f" {PROXY_MEANING}" if is_proxy(column.panel) else ""
        return Badge(name=name, sentence=visible(f"Not ranked: {column.panel_at_chance}.{meaning}"))
    return Badge(name=PROXY, sentence=PROXY_MEANING) if is_proxy(column.panel) else None


def _header(board: Board, column: Column, group: str, scale: BarScale | None) -> Header:
    return Header(
        title=capitalised(visible(column_name(column, with_panel=False))),
        key=column.key,
        group=group,
        unit=visible(f"{unit_text(column)}{column.arrow}".strip()),
        help=visible(explanation(board, column)),
        ends=(short_end(scale.low), short_end(scale.high)) if scale else None,
        zero=scale.zero if scale else None,
        badge=_panel_badge(column),
    )


def capitalised(name: str) -> str:
    """Return a name with its first letter in upper case."""
    return name[:1].upper() + name[1:]


def short_end(value: float) -> str:
    """Return the number at an end of a scale, without zeros after the point."""
    text = short_number(value)
    return text if "e" in text or "." not in text or not text[-1].isdigit() else text.rstrip("0").rstrip(".")


def _cells(board: Board, column: Column, standing: ColumnStanding, scale: BarScale | None) -> list[TableCell]:
    n_ranked = {
        group: sum(row.group == group and is_ranked(row, column) for row in board.rows)
        for group in {row.group for row in board.rows}
    }
    with_best = {row.group for row in board.rows if (a := row.metrics.get(column.key)) and a.mark == "best"}
    cells = []
    for row, span, rank in zip(board.rows, standing.spans, standing.ranks, strict=True):
        aggregate = row.metrics.get(column.key)
        if aggregate is None or span is None:
            cells.append(TableCell(text=absent_text(row, column).replace("-", NONE)))
            continue
        mean, low, high = span
        unit = unit_text(column)
        ends = [short_number(low), short_number(high)]
        interval = " to ".join(ends) if ends[0] != ends[1] else ""
        is_compared = n_ranked[row.group] > 1 and aggregate.rank is not None
        cells.append(
            TableCell(
                text=short_number(mean),
                spoken=f"({interval})" if interval else "",
                help=visible(_help(row, column, span, unit, rank if is_compared else None)),
                bar=(scale.position(low), scale.position(mean), scale.position(high)) if scale else None,
                is_best=aggregate.mark == "best",
                is_given=_is_given(row, column),
                is_tied=row.group in with_best and is_compared and rank is not None and rank[0] == 1,
            )
        )
    return cells


def _help(row: Row, column: Column, span: tuple[float, float, float], unit: str, rank: tuple[int, int] | None) -> str:
    """Return the tooltip of a value: in full, with its interval, numbers and rank."""
    mean, low, high = span
    aggregate = row.metrics[column.key]
    parts = [f"{column_name(column)}: {mean:.6g}{f' {unit}' if unit else ''}"]
    parts.append(f"{spread_name(column)} {low:.6g} to {high:.6g}" if high > low else "no interval")
    parts.append(
        f"{aggregate.n} {'pairs of runs' if aggregate.of_pairs else 'seeds'}" if aggregate.n > 1 else "one seed"
    )
    if rank:
        parts.append(f"rank {rank[0]}" if rank[0] == rank[1] else f"rank {rank[0]} to {rank[1]}")
    elif why := _why_not_ranked(row, column):
        parts.append(why)
    return with_minus("; ".join(parts))


def _is_given(row: Row, column: Column) -> bool:
    return row.group == "method" and row.is_lossless and column.metric in BY_CONSTRUCTION


def _why_not_ranked(row: Row, column: Column | None) -> str:
    if row.flags:
        return f"not ranked: {', '.join(flag.name for flag in row.flags)}"
    if row.group == "control":
        return "not ranked: a control"
    if column is None or column.direction == "none":
        return ""
    if column.key not in row.metrics:
        return f"not ranked: no {column_name(column)}"
    if _is_given(row, column):
        return "not ranked: follows from losslessness"
    return ""


def _sorted_by(sorting: Sorting) -> str:
    if sorting.column is None:
        return "name"
    first = "worst" if sorting.worst_first else "best"
    return f"{visible(column_name(sorting.column))}{'' if sorting.column.direction == 'none' else f', {first} first'}"
