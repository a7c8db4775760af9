"""Plain-text table of a board for a terminal of a given width."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from results.boards.board import Board, Column, Floor, Row
from results.boards.columns import is_detail
from results.boards.families import GROUP_HEADINGS
from results.boards.lead_columns import INTERPRETABILITY, column_name, group_of, heading, judged_by, lead_of, position
from results.boards.trials import marked
from results.boards.value_text import (
    MARKS,
    UNITS_NOTE,
    absent_text,
    board_cells,
    count_text,
    flag_lines,
    floor_text,
    headline_lines,
    observed,
    sign_lines,
    spread_text,
    units_with_score,
)
from results.tables import aligned
from results.visible_text import visible

_NOT_RANKED = "not ranked together"


class _TextColumn(NamedTuple):
    """Printed column: its group, and its heading above the cells."""

    group: str
    cells: Sequence[str]


def render_text(board: Board, width: int = 100, *, details: bool = True) -> str:
    """Return the board as text: a heading, the table, and below it flags, failures, floors, explanations and notes.

    Columns are grouped by what they measure, and rows into methods, controls and virtual methods. A table wider than
    `width` continues in further blocks that repeat the method; names are never truncated.

    Args:
        width: columns of the terminal.
        details: show every column; if false, those of `columns.is_detail` are only named below the table.
    """
    left_out = [] if details else [column for column in board.columns if is_detail(column)]
    if left_out and len(left_out) < len(board.columns):
        return _rendered(_without(board, left_out), width, list(dict.fromkeys(column.metric for column in left_out)))
    return _rendered(board, width, ())


def headline_text(board: Board, width: int) -> list[str]:
    """Return the sentences of a board's headline, wrapped to `width`."""
    return [_wrapped(_printable(sentence), width) for sentence in board.headline]


def _rendered(board: Board, width: int, left_out: Sequence[str]) -> str:
    columns = sorted(board.columns, key=position)
    parts = ["\n".join(_wrapped(line, width) for line in _heading(board))]
    parts.append("\n".join(headline_text(board, width)))
    parts += _tables(board, columns, width) if board.rows else ["No cells."]
    sections = [_warnings(board), _explanations(board, columns), _remarks(board, left_out)]
    parts += ["\n".join(_wrapped(line, width) for line in section) for section in sections]
    return "\n\n".join(part for part in parts if part) + "\n"


def _warnings(board: Board) -> list[str]:
    """Return what a reader must know about single rows: flags, failures and undefined values."""
    lines = [_printable(line) for line in flag_lines((row.title, row) for row in board.rows)]
    return lines + [line for row in board.rows for line in _row_footers(row)]


def _explanations(board: Board, columns: Sequence[Column]) -> list[str]:
    lines = [_column_line(board, column) for column in columns if lead_of(column)]
    if board.floors:
        lines.append("floors: " + ", ".join(map(_floor, board.floors)))
    if units_with_score(board.rows, columns):
        lines.append(UNITS_NOTE)
    return lines + [_printable(line) for line in (*sign_lines(board_cells(board, columns)), *headline_lines(board))]


def _remarks(board: Board, left_out: Sequence[str]) -> list[str]:
    lines = [f"note: {_printable(note)}" for note in board.notes]
    if left_out:
        lines.append(f"further metrics, with `harness leaderboard --all`: {', '.join(map(_printable, left_out))}")
    return lines


def _column_line(board: Board, column: Column) -> str:
    """Return the explanation of a column: its heading and id, meaning, panel agreement and number of observations."""
    lead = lead_of(column)
    assert lead is not None
    parts = [lead.explanation]
    kind, count = observed(board.rows, column)
    if kind:
        parts.append(f"over {count} {kind}" if count is not None else f"the number after 'of' counts {kind}")
    parts += filter(None, [judged_by(column)])
    if column.panel_agreement is not None:
        parts.append(f"panel agreement (Krippendorff's alpha: 1 perfect, 0 chance) {column.panel_agreement:.2f}")
    if column.panel_at_chance:
        parts.append(f"judges at chance, not ranked: {column.panel_at_chance}")
    name = column_name(column)
    return _printable(f"{name}{f' ({column.key})' if name != column.key else ''}: {'; '.join(parts)}")


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


def _tables(board: Board, columns: Sequence[Column], width: int) -> list[str]:
    fixed = [
        _TextColumn("", ["method", *(_printable(row.title_with_flags) for row in board.rows)]),
        _TextColumn("", ["n", *(row.cell_count for row in board.rows)]),
    ]
    text_columns = [
        _TextColumn(group_of(column), [_printable(heading(column)), *_cells(board.rows, column)]) for column in columns
    ]
    if units := units_with_score(board.rows, columns):
        text_columns.insert(0, _TextColumn(INTERPRETABILITY, ["units", *units]))
    blocks = [fixed]
    for text_column in text_columns:
        if len(blocks[-1]) > len(fixed) and len(_lines([*blocks[-1], text_column])[1]) > width:
            blocks.append(fixed)
        blocks[-1] = [*blocks[-1], text_column]
    return ["\n".join(_block(block, board.rows)) for block in blocks]


def _lines(columns: Sequence[_TextColumn]) -> list[str]:
    """Return the lines of a table: the header, a rule, and the rows."""
    rows = list(zip(*(column.cells for column in columns), strict=True))
    return aligned(rows, [index > 0 for index in range(len(columns))])


def _block(columns: Sequence[_TextColumn], rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table with the names of its column groups above, and of its row groups between the rows."""
    header, rule, *lines = _lines(columns)
    groups = _group_names([column.group for column in columns], rule)
    content = [*([groups] if groups else []), header, rule]
    previous = "method"
    for row, line in zip(rows, lines, strict=True):
        if row.group != previous:
            content.append(f"-- {GROUP_HEADINGS[row.group]}")
            previous = row.group
        content.append(line)
    return content


def _group_names(groups: Sequence[str], rule: str) -> str:
    """Return the line with the name of each group above its first column."""
    line, previous = "", ""
    for group, match in zip(groups, re.finditer("-+", rule), strict=True):
        if group != previous:
            # A name that is wider than its columns moves the next one to the right.
            line = (line + "  " if len(line) > match.start() else line.ljust(match.start())) + group
            previous = group
    return line.rstrip()


def _cells(rows: Sequence[Row], column: Column) -> Iterator[str]:
    """Yield the printed value of each row: means under means, errors under errors, marks last."""
    kind, count = observed(rows, column)
    each = bool(kind) and count is None
    aggregates = [(row, row.metrics.get(column.key)) for row in rows]
    means = ["" if value is None else column.text(value.mean) for _, value in aggregates]
    spreads = [
        "" if value is None else spread_text(value, column) + count_text(value, column, row, observations=each)
        for row, value in aggregates
    ]
    marks = [f" {MARKS[value.mark]}" if value and value.mark else "" for _, value in aggregates]
    mean_width, spread_width, mark_width = (max(map(len, texts)) for texts in (means, spreads, marks))
    for (row, value), mean, spread, mark in zip(aggregates, means, spreads, marks, strict=True):
        text = absent_text(row, column) if value is None else mean
        yield text.rjust(mean_width) + spread.ljust(spread_width) + mark.ljust(mark_width)


def _floor(floor: Floor) -> str:
    name = re.sub("^(zero|mean)(_ablation)?", r"\1-ablation", floor.column.key.removeprefix("floor_"))
    return f"{_printable(name.replace('_', ' '))} {floor_text(floor)}"


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
    return visible(text, keep="")


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(
        line, width=max(width, 40), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
