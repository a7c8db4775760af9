"""Text of a board's values, and the lines that explain them: the same in the terminal and in all tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from results.boards.board import Aggregate, Board, Column, Floor, Row
from results.boards.lead_columns import lead_of, metric_name
from results.boards.ranking import BY_CONSTRUCTION

MARKS = {"best": "best", "second": "second", None: ""}


def spread_text(aggregate: Aggregate, column: Column) -> str:
    """Return the interval of a pooled value, or the standard error of a mean, as printed after it."""
    if aggregate.interval is not None:
        return f" [{', '.join(map(column.text, aggregate.interval))}]"
    return "" if aggregate.total_error is None else f" ± {column.text(aggregate.total_error)}"


def count_text(aggregate: Aggregate, column: Column, row: Row, *, observations: bool) -> str:
    """Return " n=2" if the value is over other than the row's seeds, and " of 800" for its observations.

    Args:
        observations: print the number of observations (see `observed`).
    """
    is_of_cells = aggregate.interval is None and not aggregate.of_pairs
    seeds = f" n={aggregate.n}" if is_of_cells and aggregate.n != row.n_seeds else ""
    return seeds + (f" of {aggregate.n_observations}" if observations and aggregate.n_observations else "")


def value_text(row: Row, column: Column, *, observations: bool = False, ranked: bool = True) -> str:
    """Return a row's value with its error, numbers and, if the table is ranked, mark; or why it has none."""
    aggregate = row.metrics.get(column.key)
    if aggregate is None:
        return absent_text(row, column)
    text = column.text(aggregate.mean) + spread_text(aggregate, column)
    text += count_text(aggregate, column, row, observations=observations)
    return f"{text} {MARKS[aggregate.mark]}" if ranked and aggregate.mark else text


def absent_text(row: Row, column: Column) -> str:
    """Return the text of a missing value."""
    if column.key in row.undefined:
        return "undefined"
    return "failed" if row.n_failed and not row.n_finished else "-"


def observed(rows: Sequence[Row], column: Column) -> tuple[str, int | None]:
    """Return what a column's number of observations counts, and the number if it is the same in all rows.

    ("", None) if it is not printed; (kind, None) if the rows differ, so that each value needs its own.
    """
    lead = lead_of(column)
    counts = {row.metrics[column.key].n_observations for row in rows if column.key in row.metrics} - {None}
    if not lead or not lead.counted or not counts:
        return "", None
    return lead.counted, counts.pop() if len(counts) == 1 else None


UNITS_NOTE = "units: units with an MS score, per cell"


def units_with_score(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Return the number of units behind each row's MS score; nothing if no row has one."""
    keys = [column.key for column in columns if column.metric == "ms_score"]
    counts = [next((row.metrics[key].n_observations for key in keys if key in row.metrics), None) for row in rows]
    return ["-" if count is None else str(count) for count in counts] if any(counts) else []


def sign_lines(cells: Iterable[tuple[Row, Column]], *, ranked: bool = True) -> list[str]:
    """Return one line for each sign that occurs in these cells of a table.

    Args:
        ranked: the table has ranks and marks.
    """
    values = [(row, column, row.metrics[column.key]) for row, column in cells if column.key in row.metrics]
    if not values:
        return []
    spreads = [spread_text(value, column) for _, column, value in values]
    has_other_n = any(count_text(value, column, row, observations=False) for row, column, value in values)
    lines = []
    if any("±" in text for text in spreads):
        lines.append(
            "±: standard error of the mean, from the spread over seeds and from the units or images within a cell; "
            "no ± if neither is known"
        )
    if any("[" in text for text in spreads):
        lines.append("[low, high]: 95 % interval")
    lines.append(
        "n: cells in the means, one per token seed and initialisation seed"
        + ("; n= behind a value that is over other than these" if has_other_n else "")
    )
    if any(column.arrow for _, column, _ in values):
        lines.append("↑, ↓: higher, lower is better")
    if ranked and any(value.mark for *_, value in values):
        lines.append(
            "best, second: by the printed mean, among the rows of the group without a flag; `harness compare` tests "
            "whether a difference is real"
        )
    return lines + (_construction_lines(values) if ranked else [])


def _construction_lines(values: Sequence[tuple[Row, Column, Aggregate]]) -> list[str]:
    determined = [(row, column) for row, column, _ in values if row.is_lossless and column.metric in BY_CONSTRUCTION]
    if not determined:
        return []
    rows = ", ".join(dict.fromkeys(row.title for row, _ in determined))
    metrics = ", ".join(dict.fromkeys(metric_name(column.metric) for _, column in determined))
    return [f"lossless: {rows}: not ranked in {metrics}, which their losslessness determines"]


def flag_lines(named: Iterable[tuple[str, Row]]) -> list[str]:
    """Return the sentence of each flag, with the rows that share it: "collapsed: DNRwCV: mean overlap ...".

    Args:
        named: name in the sentence, and row.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for name, row in named:
        for flag in row.flags:
            names.setdefault((flag.name, flag.sentence), []).append(name)
    order = list(dict.fromkeys(name for name, _ in names))
    lines = sorted(names.items(), key=lambda item: order.index(item[0][0]))
    return [f"{name}: {'; '.join(dict.fromkeys(rows))}: {sentence}" for (name, sentence), rows in lines]


def headline_lines(board: Board) -> list[str]:
    """Return the line that explains the sentences of a board's headline, if it has any."""
    if not board.headline:
        return []
    return [
        "headline: difference in percentage points [95 % interval], paired as in `harness compare`; not separable: the "
        "interval contains 0; other values side by side"
    ]


def board_cells(board: Board, columns: Sequence[Column]) -> list[tuple[Row, Column]]:
    """Return the cells of a board's table."""
    return [(row, column) for row in board.rows for column in columns]


def floor_text(floor: Floor) -> str:
    """Return the value of a floor with its unit."""
    unit = " %" if floor.column.unit == "fraction" else f" {floor.column.unit}" if floor.column.unit else ""
    return floor.text + unit
