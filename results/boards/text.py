"""Plain-text table of a board for a terminal of a given width."""

from __future__ import annotations

import dataclasses
import re
import textwrap
import unicodedata
from collections.abc import Sequence

from results.boards.board import Aggregate, Board, Column, Floor, Row
from results.boards.columns import is_detail
from results.boards.trials import marked
from results.tables import aligned

_MARKS = {"best": "*", "second": "+", None: " "}
_NOT_RANKED = "not ranked together"


def render_text(board: Board, width: int = 100, *, details: bool = True) -> str:
    """Return the board as text: a heading, the table, and below it floors, failures, undefined values and notes.

    A table wider than `width` continues in further blocks that repeat the method; names are never truncated.

    Args:
        width: columns of the terminal.
        details: show every column; if false, those of `columns.is_detail` are only named below the table.
    """
    left_out = [] if details else [column for column in board.columns if is_detail(column)]
    if left_out and len(left_out) < len(board.columns):
        return _rendered(_without(board, left_out), width, list(dict.fromkeys(column.metric for column in left_out)))
    return _rendered(board, width, ())


def _rendered(board: Board, width: int, left_out: Sequence[str]) -> str:
    parts = ["\n".join(_wrapped(line, width) for line in _heading(board))]
    parts += _tables(board, width) if board.rows else ["No cells."]
    footer = []
    if board.rows and board.columns:
        footer.append(
            "mean ± sample standard deviation over n cells (one per token seed and init seed); "
            "* best, + second; ↑ higher is better, ↓ lower is better"
        )
    if any(aggregate.interval for row in board.rows for aggregate in row.metrics.values()):
        footer.append("[low, high]: 95 % interval; n= the comparisons a pooled value is over")
    if board.floors:
        footer.append("floors: " + ", ".join(_floor(floor) for floor in board.floors))
    footer += [line for row in board.rows for line in _row_footers(row)]
    footer += [f"note: {note}" for note in board.notes]
    if left_out:
        footer.append(f"further metrics, with `harness leaderboard --all`: {', '.join(map(_printable, left_out))}")
    parts.append("\n".join(_wrapped(line, width) for line in footer))
    return "\n\n".join(part for part in parts if part) + "\n"


def _without(board: Board, columns: Sequence[Column]) -> Board:
    """Return the board without these columns, their undefined values, and the notes that are only about them."""
    removed_keys = {column.key for column in columns}
    remaining_columns = tuple(column for column in board.columns if column.key not in removed_keys)
    rows = tuple(
        dataclasses.replace(
            row,
            metrics={key: aggregate for key, aggregate in row.metrics.items() if key not in removed_keys},
            undefined={key: count for key, count in row.undefined.items() if key not in removed_keys},
        )
        for row in board.rows
    )
    metrics = {column.metric for column in board.columns} - {column.metric for column in remaining_columns}
    notes = tuple(note for note in board.notes if not note.startswith(tuple(metrics)) or _NOT_RANKED not in note)
    return dataclasses.replace(board, columns=remaining_columns, rows=rows, notes=notes)


def _heading(board: Board) -> list[str]:
    sets = [("evaluation", board.evaluation_fingerprint), ("probing", board.probing_fingerprint)]
    fingerprints = ", ".join(f"{name} {value[:12]}" for name, value in sets if value)
    first = f"{board.backbone_title} · {board.site}" + (f" · {board.dataset}" if board.dataset else "")
    return [_printable(line) for line in (marked(first, board), fingerprints) if line]


def _tables(board: Board, width: int) -> list[str]:
    fixed_columns = [
        ["method", *(_printable(row.title) for row in board.rows)],
        ["n", *(row.cell_count for row in board.rows)],
    ]
    blocks = [fixed_columns]
    for column in board.columns:
        # The space is above the mark that ends each value.
        cells = [_printable(column.heading) + " ", *_cells(board.rows, column)]
        if len(blocks[-1]) > len(fixed_columns) and len(_lines([*blocks[-1], cells])[1]) > width:
            blocks.append(fixed_columns)
        blocks[-1] = [*blocks[-1], cells]
    return ["\n".join(_lines(block)) for block in blocks]


def _lines(columns: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: the header, a rule, and the rows."""
    return aligned(list(zip(*columns, strict=True)), [position > 0 for position in range(len(columns))])


def _cells(rows: Sequence[Row], column: Column) -> list[str]:
    """Return the printed values of the column for each row: means under means, spreads under spreads, marks last."""
    aggregates = [row.metrics.get(column.key) for row in rows]
    means = ["" if aggregate is None else column.text(aggregate.mean) for aggregate in aggregates]
    spreads = ["" if aggregate is None else _spread(aggregate, column) for aggregate in aggregates]
    mean_width, spread_width = max(map(len, means)), max(map(len, spreads))
    cells = []
    for row, aggregate, mean, spread in zip(rows, aggregates, means, spreads, strict=True):
        if aggregate is None:
            cells.append(_absent(row, column).rjust(mean_width) + " " * (spread_width + 1))
        else:
            cells.append(mean.rjust(mean_width) + spread.ljust(spread_width) + _MARKS[aggregate.mark])
    return cells


def _spread(aggregate: Aggregate, column: Column) -> str:
    return column.spread_text(aggregate) + (f" n={aggregate.n_observations}" if aggregate.interval else "")


def _absent(row: Row, column: Column) -> str:
    if column.key in row.undefined:
        return "undefined"
    return "failed" if row.n_failed and not row.n_finished else "-"


def _floor(floor: Floor) -> str:
    column = floor.column
    name = re.sub("^(zero|mean)(_ablation)?", r"\1-ablation", column.key.removeprefix("floor_"))
    unit = " %" if column.unit == "fraction" else f" {column.unit}" if column.unit else ""
    return f"{_printable(name.replace('_', ' '))} {floor.text}{unit}"


def _row_footers(row: Row) -> list[str]:
    title = _printable(row.title)
    lines = []
    if row.n_failed:
        messages = "; ".join(_printable(error) for error in dict.fromkeys(row.errors))
        lines.append(f"failed: {title}, {row.n_failed} of {row.n_finished + row.n_failed} cells: {messages}")
    undefined = {
        key: (aggregate.n_undefined, aggregate.n + aggregate.n_undefined) for key, aggregate in row.metrics.items()
    }
    undefined |= {key: (count, count) for key, count in row.undefined.items()}
    for key, (count, values) in undefined.items():
        if count:
            lines.append(
                f"undefined: {_printable(key)} of {title}, {count} of {values} values not finite (NaN), "
                "left out of the mean"
            )
    return lines


def _printable(text: str) -> str:
    """Return `text` with control characters escaped: a name must not move the cursor or break a line."""
    return "".join(
        char if unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp", "Cs") else ascii(char)[1:-1] for char in text
    )


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(
        line, width=max(width, 40), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
